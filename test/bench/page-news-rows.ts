import type { Page } from 'playwright-core';
import { createClient } from '../../node/local-api/socket-client.ts';
import { openBrowser, openPage } from '../browser/chromium.ts';
import { sleep, type TestMachine, until } from '../e2e/rig.ts';
import { p99Under, type Row, row, table } from './figures.ts';
import type { PageStage } from './page-stage.ts';
import { PageViewers } from './page-viewers.ts';

/** Between two changes, so that they come at any moment of the agents' own rounds. */
const restMs = () => 200 + 500 * Math.random();
/** A change that is not on the page by then is none. */
const limitMs = 20_000;

/** Has the page write down by the wall clock when a machine's card says that it is paused, and when it says so no more. */
const watchCard = (page: Page, name: string): Promise<unknown> =>
  page.evaluate(`void (() => {
    const is = () => /paused/.test(document.querySelector('[data-node="${name}"] header')?.textContent ?? '');
    window.seen = { is: is(), at: 0 };
    window.watching?.disconnect();
    window.watching = new MutationObserver(() => {
      if (is() !== window.seen.is) window.seen = { is: is(), at: performance.timeOrigin + performance.now() };
    });
    window.watching.observe(document.getElementById('page'), { subtree: true, childList: true, characterData: true });
  })()`);

/** ms from the moment when its owner asks `machine` to pause, or to go on, until that stands on the page. NaN: it never did. */
async function newsOf(page: Page, machine: TestMachine, times: number): Promise<number[]> {
  const owner = createClient(machine.home);
  await owner.resume('all');
  await page.locator(`[data-node="${machine.name}"]`).waitFor();
  await sleep(3_000);
  await watchCard(page, machine.name);
  const ms: number[] = [];
  for (let time = 0; time < times; time++) {
    await sleep(restMs());
    const isPaused = time % 2 === 0;
    const began = performance.timeOrigin + performance.now();
    await (isPaused ? owner.pause('all', null) : owner.resume('all'));
    const seen = await until(
      'the page shows it',
      async () => {
        const { is, at } = (await page.evaluate('window.seen')) as { is: boolean; at: number };
        return is === isPaused ? at : null;
      },
      limitMs,
    ).catch(() => Number.NaN);
    ms.push(seen - began);
  }
  await owner.resume('all');
  return ms;
}

/** So many look besides. */
const others = 20;

/**
 * What somebody who looks waits for: a change in the agent that serves the page, and one on another machine, until it stands on the
 * page; and both while twenty others have the same page open.
 */
export async function newsRows({ leader, machines, trials, say }: PageStage): Promise<Row[]> {
  // Neither of them leads: the word of one goes to the other by itself.
  const [own, other] = machines.filter((machine) => machine !== leader) as [TestMachine, TestMachine];
  const viewers = new PageViewers(own);
  const browser = await openBrowser();
  try {
    const { stdout } = await own.cli('dashboard');
    const { page } = await openPage(browser, stdout.trim());
    const times = Math.max(50, trials);
    const rows: Row[] = [];
    const add = async (beside: string): Promise<void> => {
      for (const [what, machine, most] of [
        ['a change in the agent that serves the page, until it is on the page', own, 250],
        ['a change on another machine, until it is on the page', other, 1_000],
      ] as const) {
        const ours = await newsOf(page, machine, times);
        rows.push(
          row({ measure: `${what}${beside}, 7 machines, 200 jobs`, unit: 'ms', ours, targets: [p99Under(most)] }),
        );
        say(table(rows.slice(-1)));
      }
    };
    await add('');
    await viewers.open(others);
    await add(`, of ${others + 1} pages`);
    return rows;
  } finally {
    await viewers.close();
    await browser.close();
  }
}
