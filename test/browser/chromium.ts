import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Debian's, as test/prepare.mjs installs it. Root has no sandbox for it. */
export const openBrowser = (): Promise<Browser> =>
  chromium.launch({
    executablePath: process.env.AUTOGIT_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--force-color-profile=srgb', '--font-render-hinting=none'],
    timeout: 60_000,
  });

export interface Look {
  context: BrowserContext;
  page: Page;
  /** What the browser complained of: refused by the policy, thrown, not found. */
  complaints: string[];
  /** Requests that went anywhere but to the page's own server. */
  outside: string[];
}

/** Times and words are the same on every machine; `atMs`: where its clock stands still. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
  atMs: number | null = null,
): Promise<Look> {
  const context = await browser.newContext({
    ...{ locale: 'en-GB', timezoneId: 'UTC', viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce' },
    ...options,
  });
  // A machine may have much else to do.
  context.setDefaultTimeout(60_000);
  const look = { context, page: await context.newPage(), complaints: [] as string[], outside: [] as string[] };
  watch(look, url);
  if (atMs !== null) await look.page.clock.setFixedTime(atMs);
  await look.page.goto(url);
  return look;
}

function watch({ page, complaints, outside }: Look, url: string): void {
  const { origin } = new URL(url);
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    // That an agent is away is what some of the tests are about.
    if (message.type() === 'error' && !/net::ERR_|status of 401/.test(message.text())) complaints.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(origin) && !request.url().startsWith('data:')) outside.push(request.url());
  });
}

/** What axe-core finds wrong, a line each. */
export async function violations(page: Page): Promise<string[]> {
  // As the browser's own tools do it: the page's policy lets no other script in.
  const session = await page.context().newCDPSession(page);
  await session.send('Runtime.evaluate', { expression: axeSource });
  const expression = `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.flatMap(
    ({ id, nodes }) => nodes.map(({ html, failureSummary }) => id + ': ' + html.slice(0, 160) + ' ' + failureSummary)))`;
  const { result } = await session.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
  await session.detach();
  return result.value as string[];
}
