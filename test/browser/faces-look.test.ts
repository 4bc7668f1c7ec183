import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { firstTop } from '../../node/cli/top-state.ts';
import { topView } from '../../node/cli/top-view.ts';
import { exposition } from '../../node/metrics/exposition.ts';
import { sendNtfy } from '../../node/notices/ntfy-sender.ts';
import type { Notice } from '../../protocol/notices.ts';
import type { Cause } from '../../scheduler/notices/causes.ts';
import { type Due, wordsOfOne } from '../../scheduler/notices/notice-words.ts';
import { TestServer } from '../real/notices-rig.ts';
import { seenOf } from '../unit/metrics-lab.ts';
import { openBrowser } from './chromium.ts';
import { pictureFault } from './pictures.ts';
import { house, jobs, now, timeline } from './sample-house.ts';

/** What the other faces look like, of the house that the page's pictures show: drawn by the browser, from what they really say. */
let browser: Browser;
let page: Page;
const width = 900;
beforeAll(async () => {
  browser = await openBrowser();
  const context = await browser.newContext({ viewport: { width, height: 700 } });
  page = await context.newPage();
});
afterAll(() => browser?.close());

const escaped = (text: string): string => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** Compared from its top to `height`. */
async function fault(name: string, height: number, css: string, body: string): Promise<string | null> {
  await page.setContent(`<!doctype html><meta charset="utf-8"><style>* { margin: 0; box-sizing: border-box }
    body { width: ${width}px; padding: 16px; ${css} }</style>${body}`);
  return pictureFault(browser, page, name, height);
}

const terminal = `background: #16181d; color: #d8dade; font: 14px/1.35 "DejaVu Sans Mono", monospace; } pre { white-space: pre-wrap; }
  .head { color: #fff; font-weight: bold } .chosen { background: #2d4f7c } .bad { color: #f5a97f } .dim { color: #8d93a0`;

it('top, as docs/pictures/top.png', async () => {
  const status = house();
  const attention = [
    { code: 'disk-full', severity: 'warn' as const, sentence: 'kang  its disk is nearly full', fix: null },
  ];
  const seen = { snapshot: { ...status, attention }, jobs: jobs(), events: timeline(), why: [], trace: '', away: null };
  const { lines } = topView(seen, firstTop, { columns: 100, rows: 30, now });
  expect(lines.map(({ text }) => text).join('\n')).toMatch(/desktop-1[\s\S]*train/);
  const drawn = lines.map(({ text, look }) => `<span class="${look}">${escaped(text) || ' '}</span>`).join('\n');
  expect(await fault('top.png', 600, terminal, `<pre>${drawn}</pre>`)).toBeNull();
});

it('what is told by notices, broken, still so and fixed, as docs/pictures/notices.png', async () => {
  const server = await new TestServer().open();
  try {
    const cause: Cause = {
      ...{ key: 'node-gone kang', code: 'node-gone', severity: 'fail', act: null, once: null, with: [] },
      ...{ sentence: 'kang: its machine is gone', fix: 'if it never comes back: autogit-node forget kang' },
      so: ['GitLab goes on on desktop-1', 'cannot lose another machine (1 of 3 away now)'],
    };
    const open = {
      ...{ key: cause.key, incident: 'mbq3k1-1x9', severity: 'fail' as const, sentence: cause.sentence, stills: 0 },
      ...{ since: now - 7_200_000, toldAt: now - 7_200_000, returns: 0, fixedAt: null },
    };
    const dues: Due[] = [
      { state: 'broken', cause, open: null },
      { state: 'still', cause, open },
      { state: 'fixed', cause: null, open },
    ];
    const waits: Cause = {
      ...{ key: 'machine-waiting attic', code: 'machine-waiting', severity: 'info', once: null, with: [], so: [] },
      ...{ sentence: 'attic waits to be let in; it shows amber-fox-river-stone', fix: 'autogit-node approve attic' },
      act: { act: 'approve', node: 'attic', words: 'amber-fox-river-stone' },
    };
    const told = [...dues, { state: 'broken', cause: waits, open: null } as Due];
    for (const [index, due] of told.entries()) {
      const notice: Notice = {
        id: `n-${index}`,
        incident: 'x',
        state: due.state,
        at: now,
        ...wordsOfOne(due, 'home', now),
      };
      await sendNtfy(
        notice,
        { url: `${server.url}/mesh` },
        {
          mesh: { id: 'm', name: 'home' },
          status: null,
          linkOf: async () => ({ label: 'Let it in', url: 'http://192.168.1.10:7118/n/…' }),
          signal: AbortSignal.timeout(10_000),
        },
      );
    }
    const cards = server.heard.map(({ body }) => {
      const {
        title,
        message,
        actions = [],
      } = JSON.parse(body) as {
        title: string;
        message: string;
        actions?: { label: string }[];
      };
      const buttons = actions.map(({ label }) => `<b>${escaped(label)}</b>`).join('');
      return `<section><h1>${escaped(title)}</h1><p>${escaped(message)}</p>${buttons}</section>`;
    });
    expect(cards.join('')).toMatch(/home, broken: kang[\s\S]*still so after 2 h[\s\S]*fixed after 2 h[\s\S]*Let it in/);
    const css = `background: #dfe4ea; color: #1a1c20; font: 15px/1.4 "DejaVu Sans", sans-serif; }
      section { background: #fff; border-radius: 10px; padding: 12px 16px; margin-bottom: 12px }
      h1 { font-size: 15px } p { white-space: pre-wrap; color: #40454e } b { color: #15603c; display: block; margin-top: 6px`;
    expect(await fault('notices.png', 520, css, cards.join(''))).toBeNull();
  } finally {
    await server.close();
  }
});

it('what Prometheus is told, as docs/pictures/metrics.png', async () => {
  const wanted =
    /^(?:# HELP )?autogit_(?:has_leader|failures_tolerated|jobs|machine_up|gpu_busy_ratio|gpu_held|gitlab_up|gitlab_copy_age_seconds|gitlab_loss_pushes|attention)\b/;
  const lines = (await exposition(seenOf())).split('\n').filter((line) => wanted.test(line));
  expect(lines.length).toBeGreaterThan(20);
  expect(await fault('metrics.png', 600, terminal, `<pre>${escaped(lines.join('\n'))}</pre>`)).toBeNull();
});
