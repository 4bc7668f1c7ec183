import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { until } from '../e2e/rig.ts';
import { type Look, openBrowser, openPage, violations } from './chromium.ts';
import { heapUsed, keptBy } from './page-heap.ts';
import { PlayedAgent } from './played-agent.ts';
import { house, jobs, timeline } from './sample-house.ts';

/** News, silence, several tabs, strangers' words, and what people do at the page. */
let browser: Browser;
let agent: PlayedAgent;
const looks: Look[] = [];
beforeAll(async () => {
  browser = await openBrowser();
});
afterAll(() => browser?.close());
beforeEach(async () => {
  agent = new PlayedAgent();
  await agent.start();
});
afterEach(async () => {
  for (const { context } of looks.splice(0)) await context.close();
  await agent.stop();
});

async function open(): Promise<Look> {
  const look = await openPage(browser, agent.url);
  looks.push(look);
  await look.page.locator('#machines').waitFor();
  await look.page.getByText('lint (job 4812) is done on kang').waitFor();
  return look;
}

const led = (node: string): StatusSnapshot => {
  const status = house();
  return { ...status, leader: { node, term: 13, since: status.at }, at: new Date().toISOString() };
};
const sentence = (page: Page) => page.locator('.headline .sentence');

describe('news', () => {
  it('is on the page as it comes: who leads, jobs, events', async () => {
    const { page } = await open();
    agent.say('status', led('desktop-2'));
    await sentence(page).getByText('desktop-2 leads').waitFor();
    agent.say('jobs', { rows: jobs().filter(({ name }) => name === 'train') });
    await page.locator('#jobs').getByText('eval').waitFor({ state: 'detached' });
    const [first] = timeline();
    agent.say('timeline', {
      events: [{ ...first, id: '0000000000000099', sentence: 'a new thing', at: new Date().toISOString() }],
    });
    await page.locator('.events li').first().getByText('a new thing').waitFor();
    expect(agent.asked.filter((path) => path === 'api/events')).toHaveLength(1);
    // The connection tells all of them.
    expect(agent.asked.filter((path) => path === 'api/jobs' || path === 'api/status')).toEqual([]);
  });

  it('of a pipeline that ends leaves it open for who reads it; jobs of none that is known stand in lists', async () => {
    const { page } = await open();
    const site = page.locator('[data-pipeline="1272"]');
    await site.getByText('1 running, 1 waiting').waitFor();
    const over = { state: 'failed' as const, finishedAt: new Date().toISOString(), exitCode: 1 };
    agent.say('jobs', { rows: jobs().map((row) => (row.pipeline === 1272 ? { ...row, ...over } : row)) });
    await site.getByText('2 failed').waitFor();
    await site.getByRole('link', { name: 'docs' }).waitFor();
    // A GitLab, or a leader, that tells of no pipelines: no word of that, and all of the jobs.
    agent.say('jobs', { rows: jobs().map(({ pipeline: _, ...row }) => row) });
    await site.waitFor({ state: 'detached' });
    for (const name of ['running', 'waiting', 'ended'])
      await page.locator('#jobs').getByRole('heading', { name, exact: true }).waitFor();
    expect(await page.locator('#jobs [data-job]').count()).toBe(10);
    const [first, ...rest] = jobs();
    const { pipeline: _, ...alone } = first!;
    agent.say('jobs', { rows: [alone, ...rest] });
    await page.locator('#jobs').getByRole('heading', { name: 'running, of no known pipeline' }).waitFor();
    expect(await violations(page)).toEqual([]);
  });

  it('stops: the page says since when, keeps what it has, and is back by itself', async () => {
    const { page, complaints } = await open();
    await agent.stop();
    const view = page.locator('.view');
    await view.getByText(/desktop-1 does not answer since .* s; what is shown is of .*\d\d:\d\d\./).waitFor();
    await page.locator('#machines').getByText('desktop-2').waitFor();
    expect(await page.title()).toBe('? home');
    agent.status = led('desktop-2');
    await agent.start();
    await sentence(page).getByText('desktop-2 leads').waitFor();
    await view.getByText('as desktop-1 sees it').waitFor();
    expect(complaints).toEqual([]);
  });

  it('of hours leaves the page as small as it was: after 1,800 changes it keeps what it kept after 600', async () => {
    // As many as a page keeps.
    const [first] = timeline();
    agent.timeline = Array.from({ length: 600 }, (_, id) => ({ ...first!, id: String(1_000 + id).padStart(16, '0') }));
    const { page, context } = await openPage(browser, agent.url);
    looks.push({ page, context, complaints: [], outside: [] });
    await page.locator('.events li').first().waitFor();
    const session = await context.newCDPSession(page);
    // What was drawn last is let go of with the next frame; on a machine that has much else to do garbage waits longer.
    const kept = async () => {
      let least = await keptBy(session);
      for (let looks = 0; looks < 5; looks++) {
        await page.evaluate('new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 300)))');
        const now = await keptBy(session);
        const isSame = Math.abs(now.bytes - least.bytes) < 4_000;
        if (now.bytes < least.bytes) least = now;
        if (isSame) break;
      }
      return { ...least, heap: await heapUsed(session) };
    };
    let said = 0;
    const change = async (times: number): Promise<void> => {
      for (const end = said + times; said < end; ) {
        said += 1;
        const id = String(10_000 + said).padStart(16, '0');
        agent.say('status', led(said % 2 === 0 ? 'desktop-1' : 'desktop-2'));
        agent.say('jobs', { rows: jobs().map((row) => ({ ...row, job: row.job + said })) });
        agent.say('timeline', { events: [{ ...first, id, sentence: `thing ${said} happened` }] });
        if (said % 100 === 0) await page.locator('.events li').first().getByText(`thing ${said} happened`).waitFor();
      }
    };
    // All events that it keeps are of these then.
    await change(600);
    const before = await kept();
    await change(1_200);
    const after = await kept();
    console.log(`page: ${JSON.stringify(before)}, and after 1,200 changes more ${JSON.stringify(after)}`);
    // 50 bytes a change, as part of one piece may still be there; the code, which browsers compile ever better, is left out.
    expect(after.bytes - before.bytes).toBeLessThan(60_000);
    expect(after.listeners).toBeLessThanOrEqual(before.listeners);
    expect(after.nodes / before.nodes).toBeLessThan(1.1);
    expect(after.heap / before.heap).toBeLessThan(1.33);
  });

  it('of a session that has ended: what to type for another', async () => {
    const { page } = await open();
    agent.isOver = true;
    await agent.stop();
    await agent.start();
    await page.locator('.view').getByText('this session has ended').waitFor();
    await page.locator('.view').getByText('autogit-node dashboard').waitFor();
    await page.locator('#machines').getByText('desktop-2').waitFor();
  });
});

describe('tabs of one browser', () => {
  it('share one connection, and the next takes it when its tab is closed', async () => {
    const { page: first, context } = await open();
    const second = await context.newPage();
    await second.goto(agent.url);
    await second.locator('#machines').waitFor();
    agent.say('status', led('desktop-2'));
    for (const page of [first, second]) await sentence(page).getByText('desktop-2 leads').waitFor();
    await until('one connection', () => agent.streams === 1);
    await first.close();
    await until(
      'the other tab has it',
      () => agent.streams === 1 && agent.asked.filter((path) => path === 'api/events').length >= 2,
    );
    agent.say('status', led('desktop-1'));
    await sentence(second).getByText('desktop-1 leads').waitFor();
    expect(agent.streams).toBe(1);
  });

  it('have none while nobody looks', async () => {
    const { page } = await open();
    const hide = (state: string): Promise<unknown> =>
      page.evaluate(`Object.defineProperty(document, 'visibilityState', { value: '${state}', configurable: true });
        document.dispatchEvent(new Event('visibilitychange'))`);
    await hide('hidden');
    await until('it is closed', () => agent.streams === 0);
    agent.status = led('desktop-2');
    await hide('visible');
    await sentence(page).getByText('desktop-2 leads').waitFor();
    expect(agent.streams).toBe(1);
  });
});

describe("strangers' words", () => {
  const markup = `<img src=x onerror="document.title='ran'"><script>document.title='ran'</script>`;

  it('run nothing and are nothing but text', async () => {
    const name = `${markup}\u202ednuora`;
    agent.status = house();
    agent.status.mesh.name = name;
    agent.status.waiting = [
      {
        node: 'attic',
        id: 'n-attic',
        address: `192.168.1.9${markup}`,
        words: `amber ${markup}`,
        since: agent.status.at,
      },
    ];
    agent.status.attention = [
      { code: 'x', severity: 'warn', sentence: `${markup} is odd`, fix: `autogit-node forget ${markup}` },
    ];
    agent.status.gitlab.url = 'javascript:document.title="ran"';
    const [desktop] = agent.status.nodes;
    desktop!.labels = [markup];
    desktop!.because = markup;
    agent.jobs = jobs().map((row) => ({
      ...row,
      name: `${markup}${row.name}`,
      project: markup,
      ref: markup,
      because: markup,
    }));
    agent.timeline = timeline().map((event) => ({ ...event, because: markup }));
    agent.trace = `${markup}\u001b]0;title\u0007\n`;
    const { page, complaints, outside } = await open();
    await page.locator('[data-state=running] a').first().click();
    await page.getByRole('dialog').locator('.trace', { hasText: 'onerror' }).waitFor();
    expect(await page.locator('img, #page script, [onerror], a[href^="javascript"]').count()).toBe(0);
    expect(await page.title()).not.toBe('ran');
    // What turns the direction of writing is a blank.
    expect(await page.locator('h1').textContent()).toBe(`${markup} dnuora`);
    expect({ complaints, outside }).toEqual({ complaints: [], outside: [] });
  });
});

describe('what people do', () => {
  it('lets a machine in after its words were compared, and says what came of it', async () => {
    agent.status.waiting = [
      { node: 'attic', id: 'n-attic', address: '192.168.1.9', words: 'amber fox river stone', since: agent.status.at },
    ];
    const { page } = await open();
    await page.locator('[data-waiting=attic]').getByRole('button', { name: 'Compare the words' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('amber fox river stone').waitFor();
    await dialog.getByRole('button', { name: 'Yes: Let attic in' }).click();
    await page.locator('.said').getByText('approve is done').waitFor();
    expect(agent.acts).toEqual([{ name: 'approve', body: { node: 'n-attic', words: 'amber fox river stone' } }]);
  });

  it.each([
    ['drain', '[data-node=kang]', 'Drain…', 'Yes: Drain kang', { node: 'kang', drained: true }],
    ['move', '#gitlab', 'Move…', 'Yes: Move GitLab to desktop-1', { to: 'desktop-1' }],
  ])('%s asks twice, and no is no', async (name, place, button, yes, body) => {
    const { page } = await open();
    const dialog = page.getByRole('dialog');
    if (name === 'drain') await page.locator(place).getByText('drain', { exact: true }).click();
    await page.locator(place).getByRole('button', { name: button }).click();
    await dialog.getByText('question 1 of 2').waitFor();
    await dialog.getByRole('button', { name: 'Go on' }).click();
    await dialog.getByText('question 2 of 2').waitFor();
    await page.keyboard.press('Enter');
    await dialog.waitFor({ state: 'detached' });
    expect(agent.acts).toEqual([]);
    await page.locator(place).getByRole('button', { name: button }).click();
    await dialog.getByRole('button', { name: 'Go on' }).click();
    await dialog.getByRole('button', { name: yes }).click();
    await page.locator('.said').getByText(`${name} is done`).waitFor();
    expect(agent.acts).toEqual([{ name, body }]);
  });

  it('move shows what the mesh finds before it asks, and what it costs; where something speaks against it, nothing is asked', async () => {
    const { page } = await open();
    const dialog = page.getByRole('dialog');
    const move = () => page.locator('#gitlab').getByRole('button', { name: 'Move…' }).click();
    await move();
    await dialog.getByText('desktop-1 is in sync, 2 s behind').waitFor();
    await dialog.locator('[data-state=warn]', { hasText: 'has to be pulled there first' }).waitFor();
    await dialog.getByRole('button', { name: 'Go on' }).click();
    await dialog.getByText('nobody is served for about 95 s').waitFor();
    await page.keyboard.press('Escape');
    const [good] = [agent.movePlan];
    agent.movePlan = (to) => ({
      ...good(to),
      lines: [{ state: 'fail', what: 'disk', sentence: 'there is no room', fix: 'make room on desktop-1' }],
    });
    await move();
    await dialog.getByText('there is no room').waitFor();
    await dialog.getByText('make room on desktop-1').waitFor();
    expect(await dialog.getByRole('button', { name: /Go on|Yes/ }).count()).toBe(0);
    expect(await violations(page)).toEqual([]);
    await dialog.getByRole('button', { name: 'No' }).click();
    expect(agent.acts).toEqual([]);
  });

  it('a viewer sees all of it, and no button that does anything', async () => {
    agent.role = 'viewer';
    agent.status.waiting = [
      { node: 'attic', id: 'n-attic', address: '192.168.1.9', words: 'amber fox river stone', since: agent.status.at },
    ];
    const { page } = await open();
    await page.locator('.view').getByText('you look as viewer').waitFor();
    await page.getByText('amber fox river stone').first().waitFor();
    expect(await page.getByRole('button', { name: /Compare|Ignore|Back up|Move|Drain|Pause/ }).count()).toBe(0);
    await page.locator('#jobs a', { hasText: 'train' }).first().click();
    await page.getByRole('dialog').getByText('epoch 9 of 40').waitFor();
    expect(await page.getByRole('button', { name: /Cancel|again/ }).count()).toBe(0);
  });
});
