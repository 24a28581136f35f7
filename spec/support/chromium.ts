import { existsSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'
import { missing } from './missing.ts'

const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

const CURE =
  'no Chromium here: get one with `npx playwright-core install chromium` or `apt-get install ' +
  'chromium`, or set CHROMIUM to where yours is'

/**
 * Opens a real browser, with an empty profile of its own, until the end of the test.
 *
 * Without one the test is skipped, and told how to get one; where CI is set it fails, as a skip
 * would go unnoticed there.
 */
export async function openChromium(test: TestContext): Promise<Browser | undefined> {
  const executablePath = findChromium()
  if (executablePath === undefined) {
    test.skip(missing(CURE))
    return undefined
  }
  const browser = await chromium.launch({ executablePath, args: ARGUMENTS })
  test.after(() => browser.close())
  return browser
}

/** Opens a page of a user of its own: what the page complains of is added to `complaints`. */
export async function openPage(
  browser: Browser,
  complaints: string[],
  options?: BrowserContextOptions,
): Promise<Page> {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  return page
}

function findChromium(): string | undefined {
  const { CHROMIUM = '' } = process.env
  if (CHROMIUM !== '') return existsSync(CHROMIUM) ? CHROMIUM : undefined
  return ['/usr/bin/chromium', chromium.executablePath()].find((path) => existsSync(path))
}
