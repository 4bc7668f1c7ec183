import type { Browser, BrowserContextOptions } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Look, openBrowser, openPage, violations } from './chromium.ts';
import { pictureFault } from './pictures.ts';
import { PlayedAgent } from './played-agent.ts';
import { now } from './sample-house.ts';

/** How the page looks, read by eyes, by a screen reader's rules, and on a phone. */
let browser: Browser;
let agent: PlayedAgent;
beforeAll(async () => {
  agent = new PlayedAgent();
  await agent.start();
  browser = await openBrowser();
});
afterAll(async () => {
  await browser?.close();
  await agent?.stop();
});

/** Everything drawn, at the moment of the sample. */
async function open(options: BrowserContextOptions = {}): Promise<Look> {
  const look = await openPage(browser, agent.url, options, now);
  await look.page.locator('#use canvas').first().waitFor();
  await look.page.getByText('What happened').waitFor();
  return look;
}

const desk = { viewport: { width: 1120, height: 900 } };
const phone = { viewport: { width: 375, height: 812 }, isMobile: true, hasTouch: true };

describe('the page', () => {
  it.each([
    ['page-light.png', { ...desk, colorScheme: 'light' }, 820],
    ['page-dark.png', { ...desk, colorScheme: 'dark' }, 820],
    ['page-phone.png', { ...phone, colorScheme: 'light' }, 812],
  ] as const)('looks as docs/pictures/%s, and axe-core finds nothing wrong', async (name, options, height) => {
    const { page, context, complaints, outside } = await open(options);
    expect(await violations(page)).toEqual([]);
    expect(await pictureFault(browser, page, name, height)).toBeNull();
    // Nothing is wider than the screen.
    expect(await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')).toBe(0);
    expect({ complaints, outside }).toEqual({ complaints: [], outside: [] });
    await context.close();
  });

  it('is no wider than the narrowest screen, whatever machines, projects and branches are called', async () => {
    const long = 'a-name-that-somebody-thought-of-on-a-long-evening-and-never-changed-again';
    const house = new PlayedAgent();
    const [one] = house.status.nodes;
    house.status.nodes.push({ ...one!, node: long, id: 'n-long', self: false, labels: [long], because: long });
    house.status.mesh.name = long;
    house.jobs = house.jobs.map((row) => ({ ...row, name: long, project: `${long}/${long}`, ref: long }));
    await house.start();
    const { page, context } = await openPage(
      browser,
      house.url,
      { ...phone, viewport: { width: 320, height: 700 } },
      now,
    );
    await page.locator('#use canvas').first().waitFor();
    await page.locator('#jobs [data-job]').first().waitFor();
    const wide = `[...document.querySelectorAll('#page *')].filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
      .map((one) => one.outerHTML.slice(0, 120))`;
    expect(await page.evaluate(wide)).toEqual([]);
    expect(await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')).toBe(0);
    expect(await violations(page)).toEqual([]);
    await context.close();
    await house.stop();
  });

  it('shows a job with its trace and why it waits, which axe-core finds nothing wrong with', async () => {
    const { page, context, complaints } = await open(desk);
    await page.locator('#jobs a', { hasText: 'eval' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('has no GPU of more than 16 GiB').waitFor();
    expect(await violations(page)).toEqual([]);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    await page.locator('#jobs a', { hasText: 'train' }).first().click();
    await dialog.getByText('epoch 9 of 40').waitFor();
    // Its colours are a class, GitLab's marks of sections and escapes are gone.
    expect(await dialog.locator('.trace .green').textContent()).toContain('$ python train.py');
    expect(await dialog.locator('.trace').textContent()).not.toMatch(/section_start|\[0K|\[32/);
    expect(await violations(page)).toEqual([]);
    expect(await pictureFault(browser, page, 'page-job.png', 900)).toBeNull();
    expect(complaints).toEqual([]);
    await context.close();
  });

  it('folds pipelines: what is under way is open, all of it by the keyboard, each with the way to its page in GitLab', async () => {
    const { page, context } = await open();
    const group = (pipeline: number) => page.locator(`[data-pipeline="${pipeline}"]`);
    const fold = (pipeline: number, name: string) => group(pipeline).getByRole('button', { name });
    expect(await page.locator('[data-pipeline]').evaluateAll((all) => all.map((one) => one.dataset.pipeline))).toEqual([
      '1270',
      '1271',
      '1272',
      '1269',
      '1268',
      '1266',
    ]);
    await group(1271).getByRole('link', { name: 'train', exact: true }).waitFor();
    expect(await group(1269).locator('.jobs').count()).toBe(0);
    const ended = fold(1269, 'lab/vision #1269 main 2 done');
    expect(await ended.getAttribute('aria-expanded')).toBe('false');
    await ended.focus();
    await page.keyboard.press('Enter');
    await group(1269).getByRole('link', { name: 'unit', exact: true }).waitFor();
    expect(await ended.getAttribute('aria-expanded')).toBe('true');
    expect(await violations(page)).toEqual([]);
    const running = fold(1271, 'lab/vision #1271 main 2 running, 1 done');
    await running.focus();
    await page.keyboard.press('Space');
    await group(1271).locator('.jobs').waitFor({ state: 'detached' });
    const there = group(1271).getByRole('link', { name: 'pipeline 1271 of lab/vision in GitLab' });
    expect(await there.getAttribute('href')).toBe('http://home.local/lab/vision/-/pipelines/1271');
    await context.close();
  });

  it('shows what GitLab can be made of again, when somebody wants to see it', async () => {
    const { page, context } = await open();
    expect(agent.asked).not.toContain('api/gitlab/history');
    await page.getByText('history: what GitLab can be made of again').click();
    await page.locator('#gitlab').getByText('4be1c2d9').waitFor();
    await page.locator('#gitlab').getByText('on kang and desktop-1').first().waitFor();
    expect(await violations(page)).toEqual([]);
    await context.close();
  });

  it('is used by the keyboard alone: to a job and back to where one was', async () => {
    const { page, context } = await open();
    const focused = (): Promise<unknown> => page.evaluate('document.activeElement?.textContent');
    await page.keyboard.press('Tab');
    expect(await focused()).toBe('to what matters');
    for (let tabs = 0; tabs < 60 && (await focused()) !== 'eval'; tabs += 1) await page.keyboard.press('Tab');
    expect(await focused()).toBe('eval');
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog');
    await dialog.getByText('has no GPU of more than 16 GiB').waitFor();
    // Focus is in the dialog and stays there.
    for (let tabs = 0; tabs < 12; tabs += 1) {
      await page.keyboard.press('Tab');
      expect(
        await page.evaluate(
          `document.activeElement === document.body || document.activeElement.closest('dialog') !== null`,
        ),
      ).toBe(true);
    }
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    expect(await focused()).toBe('eval');
    await context.close();
  });

  it('is light or dark as one likes, whatever the system says, and stays so', async () => {
    const { page, context } = await open({ colorScheme: 'dark' });
    const drawn = (): Promise<unknown> => page.evaluate('document.documentElement.dataset.theme');
    expect(await drawn()).toBe('dark');
    await page.getByRole('button', { name: 'colours: auto' }).click();
    expect(await drawn()).toBe('light');
    await page.reload();
    await page.getByRole('button', { name: 'colours: light' }).waitFor();
    expect(await drawn()).toBe('light');
    await context.close();
  });
});
