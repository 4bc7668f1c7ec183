import type { CDPSession, Page } from 'playwright-core';
import type { JobRow } from '../../protocol/job-rows.ts';
import { openBrowser, openPage } from '../browser/chromium.ts';
import { heapUsed, keptBy } from '../browser/page-heap.ts';
import { PlayedAgent } from '../browser/played-agent.ts';
import { house, jobs, timeline } from '../browser/sample-house.ts';
import { sleep } from '../e2e/rig.ts';
import { type Row, ratioAtMost, row } from './figures.ts';

/** How often the heap is looked at. */
const looksPerRun = 30;
/** A page that is left open is told figures once a second, jobs every five seconds and an event now and then: a hundred times as often here. */
const [statusMs, jobsEach, eventsEach] = [10, 5, 10] as const;
const jobsToldOf = 200;

const manyJobs = (salt: number): JobRow[] => {
  const few = jobs();
  return Array.from({ length: jobsToldOf }, (_, index) => {
    const one = few[index % few.length] as JobRow;
    return { ...one, job: 10_000 + index + (salt % 50), because: `${one.because}, for the ${salt}. time` };
  });
};

/** Until `endAt` (performance.now), as fast as the page takes it. How many changes it was told. */
async function tell(agent: PlayedAgent, said: number, endAt: number): Promise<number> {
  const [first] = timeline();
  let count = said;
  for (; performance.now() < endAt; count++) {
    const status = house();
    const [node] = status.nodes;
    if (node?.used) node.used.cpuMillis = (count * 37) % 8_000;
    const leader = count % 50 < 25 ? 'desktop-1' : 'kang';
    agent.say('status', {
      ...status,
      at: new Date().toISOString(),
      leader: { node: leader, term: 13, since: status.at },
    });
    if (count % jobsEach === 0) agent.say('jobs', { rows: manyJobs(count) });
    if (count % eventsEach === 0)
      agent.say('timeline', {
        events: [{ ...first, id: String(20_000 + count).padStart(16, '0'), sentence: `thing ${count} happened` }],
      });
    await sleep(statusMs);
    await agent.taken();
  }
  return count;
}

async function look(page: Page, session: CDPSession): Promise<number> {
  // What was drawn last is let go of with the next frame.
  await page.evaluate('new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 300)))');
  return (await heapUsed(session)) / 2 ** 20;
}

const mebi = (bytes: number): string => (bytes / 2 ** 20).toFixed(2);

/** A page that is left open, told a hundred times as much as one of a real house is: its heap in the last third beside the second one, which has all that a page keeps. */
export async function heapRows(seconds: number, say: (line: string) => void): Promise<Row[]> {
  const agent = new PlayedAgent();
  await agent.start();
  const browser = await openBrowser();
  try {
    const { page, context } = await openPage(browser, agent.url);
    await page.locator('#machines').waitFor();
    const session = await context.newCDPSession(page);
    const eachMs = (seconds * 1000) / looksPerRun;
    const heap: number[] = [];
    let [said, before] = [0, { bytes: 0, nodes: 0, listeners: 0 }];
    for (let time = 0; time < looksPerRun; time++) {
      said = await tell(agent, said, performance.now() + eachMs);
      heap.push(await look(page, session));
      if (time === looksPerRun / 3 - 1) before = await keptBy(session);
      if (time % 5 === 4) say(`${said} changes: ${heap.at(-1)?.toFixed(2)} MiB`);
    }
    const after = await keptBy(session);
    return [
      row({
        measure: `heap of a page that is left open, ${seconds} s of 100 x what is told`,
        unit: 'MiB',
        ours: heap.slice((2 * looksPerRun) / 3),
        against: { name: 'its second third', values: heap.slice(looksPerRun / 3, (2 * looksPerRun) / 3) },
        targets: [ratioAtMost(1.1)],
        note: `${said} changes; of it the program's own ${mebi(before.bytes)} MiB after the first third and ${mebi(after.bytes)} at the end, ${before.nodes} and ${after.nodes} nodes, ${before.listeners} and ${after.listeners} listeners`,
      }),
    ];
  } finally {
    await browser.close();
    await agent.stop();
  }
}
