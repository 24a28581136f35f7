import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { suite, test, type TestContext } from 'node:test'
import type { Page } from 'playwright-core'
import { openChromium, openPage } from '../support/chromium.ts'

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

  const tabs = [
    ['phoenix.js', '/', '/'],
    ['our own client', '/ours', '/ours'],
    ['phoenix.js and our own client', '/', '/ours'],
  ] as const
  for (const [what, first, second] of tabs) {
    test(`two tabs talk, and see each other, through ${what}`, async (t) => {
      const browser = await openChromium(t)
      if (!browser) return
      const site = await start(t)
      const complaints: string[] = []
      const size = { viewport: { width: 640, height: 560 } }
      const ada = await openPage(browser, complaints, size)
      const grace = await openPage(browser, complaints, size)
      await sitDown(ada, site + first, '')
      await ada.getByText('who are you?').waitFor()
      await sitDown(ada, site + first, 'Ada')
      await ada.getByText('Welcome to lobby').waitFor()
      await sitDown(grace, site + second, 'Grace')
      await ada.getByText('Grace came in').waitFor()
      for (const page of [ada, grace]) {
        await page.getByText('Connected').waitFor()
        await page.getByText('Ada, Grace', { exact: true }).waitFor()
      }
      const markup = 'Hello, <b>Grace</b>!'
      await say(ada, markup)
      await grace.locator('.said:not(.own)', { hasText: markup }).waitFor()
      await ada.locator('.said.own .bubble[title]', { hasText: markup }).waitFor()
      assert.equal(await grace.locator('.log b').count(), 0)
      await say(grace, 'Hello, Ada! Which client are you?')
      await ada.locator('.said:not(.own)', { hasText: 'Hello, Ada!' }).waitFor()
      await say(ada, 'Look above: each of us another one.')
      await grace.locator('.said:not(.own)', { hasText: 'Look above' }).waitFor()
      await ada.locator('.said.own .bubble[title]', { hasText: 'Look above' }).waitFor()
      if (process.env.SCREENSHOT && first !== second) await sideBySide(ada, grace)
      await grace.getByRole('button', { name: 'Leave' }).click()
      await ada.getByText('Grace went').waitFor()
      await ada.getByText('Ada', { exact: true }).waitFor()
      await say(ada, 'Anybody there?')
      await ada.locator('.said.own .bubble[title]', { hasText: 'Anybody there?' }).waitFor()
      assert.equal(await grace.locator('.log').textContent(), '')
      assert.deepEqual(complaints, [])
    })
  }
})

/** Makes docs/pictures/channels.png: SCREENSHOT=docs/pictures/channels.png. */
async function sideBySide(...pages: readonly Page[]): Promise<void> {
  const images: string[] = []
  for (const page of pages) {
    const png = await page.screenshot({ animations: 'disabled' })
    images.push(`<img src="data:image/png;base64,${png.toString('base64')}">`)
  }
  const [first] = pages
  assert.ok(first)
  const whole = await first.context().newPage()
  await whole.setViewportSize({ width: 1330, height: 600 })
  await whole.setContent(`<style>
      body { display: flex; align-items: center; gap: 18px; width: max-content; margin: 0; padding: 16px; background: #dfe3ea }
      img { border-radius: 12px; box-shadow: 0 4px 20px #0003 }
    </style>${images.join('')}`)
  await whole.locator('body').screenshot({ path: process.env.SCREENSHOT ?? '' })
  await whole.close()
}
