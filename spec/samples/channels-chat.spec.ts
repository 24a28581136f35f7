import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { suite, test, type TestContext } from 'node:test'
import type { Page } from 'playwright-core'
import { openChromium, openPage } from '../chromium.ts'

/** Starts the program: is where it listens. */
async function start(t: TestContext): Promise<string> {
  const program = spawn(
    process.execPath,
    ['--conditions=source', '--import', 'tsx', 'samples/channels-chat/server.ts'],
    { env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  t.after(() => program.kill('SIGKILL'))
  const [said] = (await once(program.stdout, 'data')) as [Buffer]
  const [, port = ''] = /^listening on ws:\/\/localhost:(\d+)\n$/.exec(String(said)) ?? []
  return `http://localhost:${port}`
}

async function sitDown(page: Page, site: string, name: string): Promise<void> {
  await page.goto(site)
  await page.getByLabel('Your name').fill(name)
  await page.getByRole('button', { name: 'Join the room' }).click()
}

async function say(page: Page, words: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(words)
  await page.keyboard.press('Enter')
}

suite('the chat of channels', { timeout: 60_000 }, () => {
  test('its page has phoenix.js as it is', async (t) => {
    const site = await start(t)
    const response = await fetch(`${site}/phoenix.mjs`)
    assert.equal(response.headers.get('content-type'), 'text/javascript; charset=utf-8')
    const file = createRequire(import.meta.url)
      .resolve('phoenix')
      .replace('.cjs.js', '.mjs')
    assert.equal(await response.text(), readFileSync(file, 'utf8'))
    assert.equal((await fetch(`${site}/server.ts`)).status, 404)
  })

  test('two tabs talk through phoenix.js', async (t) => {
    const browser = await openChromium(t)
    if (!browser) return
    const site = await start(t)
    const complaints: string[] = []
    const ada = await openPage(browser, complaints)
    const grace = await openPage(browser, complaints)
    await sitDown(ada, site, '')
    await ada.getByText('who are you?').waitFor()
    await sitDown(ada, site, 'Ada')
    await ada.getByText('Welcome to lobby').waitFor()
    await sitDown(grace, site, 'Grace')
    await ada.getByText('Grace came in').waitFor()
    await ada.getByText('Connected').waitFor()
    const markup = 'Hello, <b>Grace</b>!'
    await say(ada, markup)
    await grace.locator('.said:not(.own)', { hasText: markup }).waitFor()
    await ada.locator('.said.own .bubble[title]', { hasText: markup }).waitFor()
    assert.equal(await grace.locator('.log b').count(), 0)
    await say(grace, 'Hello, Ada!')
    await ada.locator('.said:not(.own)', { hasText: 'Hello, Ada!' }).waitFor()
    const { SCREENSHOT } = process.env
    if (SCREENSHOT) await ada.screenshot({ path: SCREENSHOT })
    await grace.getByRole('button', { name: 'Leave' }).click()
    await say(ada, 'Anybody there?')
    await ada.locator('.said.own .bubble[title]', { hasText: 'Anybody there?' }).waitFor()
    assert.equal(await grace.locator('.log').textContent(), '')
    assert.deepEqual(complaints, [])
  })
})
