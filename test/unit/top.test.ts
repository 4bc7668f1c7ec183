import { describe, expect, it } from 'vitest';
import { afterKey, firstTop, keysIn, type TopState } from '../../node/cli/top-state.ts';
import { type TopSeen, topView } from '../../node/cli/top-view.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import { jobRows, snapshot } from '../../scheduler/snapshot.ts';
import { Lab } from './jobs-lab.ts';
import { GiB, gpu3090, gpu5080, labRun, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

/** Three machines, of which one has a job on its card and another one's owner plays. */
function seen(): TopSeen {
  const busy = { uuid: gpu3090.uuid, usedBytes: 22 * GiB, busyPercent: 97, foreign: false };
  const played = { uuid: gpu5080.uuid, usedBytes: 8 * GiB, busyPercent: 40, foreign: true, usedBy: 'doom' };
  const lab = new Lab({
    machines: {
      kang: { ...measured({ memoryGiB: 126 }), usedCpuMillis: 12_000 },
      'desktop-1': measured({ gpus_: [gpu3090], gpus: [busy] }),
      'desktop-2': measured({ memoryGiB: 32, gpus_: [gpu5080], gpus: [played] }),
    },
  });
  const run = labRun({
    run: 'r1',
    job: 4813,
    node: 'desktop-1',
    tags: ['gpu'],
    gpus: [gpu3090.uuid],
    takenAt: lab.wallMs,
  });
  lab.feed('desktop-1', { kind: 'run-changed', run });
  lab.push(4815, ['gpu', 'vram-20g']);
  lab.run(20_000);
  const view = viewOf(lab, 'kang');
  const event = { id: '1', at: '2026-11-30T05:00:00.000Z', kind: 'election' as const, severity: 'warn' as const };
  return {
    ...{ snapshot: snapshot(view), jobs: jobRows(view, false), why: [], trace: '', away: null },
    events: [{ ...event, node: null, sentence: 'kang leads in term 12', because: 'desktop-1 was silent' }],
  };
}
const screen = { columns: 120, rows: 30, now: Date.parse('2026-11-30T05:00:00Z') };
const picture = (state: Partial<TopState> = {}, of: TopSeen = seen(), size = screen) =>
  topView(of, { ...firstTop, ...state }, size);
const text = (...args: Parameters<typeof picture>): string =>
  picture(...args)
    .lines.map((line) => line.text)
    .join('\n');
const press = (keys: string, state: TopState = firstTop) =>
  keysIn(keys).reduce<ReturnType<typeof afterKey>>((now, key) => afterKey(now.state, key, 10), { state, wish: null });

describe('a trace', () => {
  const of = (trace: string, size = screen) =>
    picture({ trace: 4813 }, { ...seen(), trace }, size).lines.map((line) => line.text);

  it('is its last lines as a terminal would have them, nothing of it moves the cursor, and none is cut', () => {
    const lines = of(
      `${Array.from({ length: 90 }, (_, step) => `step ${step}`).join('\n')}\nsection_start:1:x\r\u001b[0K\u001b[32;1m$ make\u001b[0m\r\n\u001b[2Jold\rnew\n${'w'.repeat(130)}\n`,
    );
    expect(lines).toHaveLength(screen.rows);
    expect(lines.slice(-6, -1)).toEqual(['step 89', '$ make', 'new', 'w'.repeat(120), 'w'.repeat(10)]);
    expect(lines.join('\n')).toContain('TRACE of job 4813');
    expect(lines.at(-1)).toContain('any key: back');
    expect(of('').join('\n')).toContain('nothing yet; why it is where it is: Enter');
  });

  it('is asked for by l where jobs are, and any key leads back', () => {
    expect(press('l').wish).toBe('trace');
    expect(press('\tl').wish).toBeNull();
    const shown = { ...firstTop, trace: 4813 };
    expect(press('x', shown)).toEqual({ state: firstTop, wish: null });
    expect(press('q', shown).wish).toBe('quit');
  });
});

describe('the picture', () => {
  it('has machines with bars, cards with who has them, the queue, and exactly the screen', () => {
    const all = text();
    expect(all).toMatch(/mesh home .*3 nodes, leader kang \(term 12\), can lose 1/);
    expect(all).toMatch(/\* kang +leader +0 +\[\|+ +\] 75%/);
    expect(all).toMatch(/RTX 3090 Ti +\[\|+ *\] 97% +22\/24 GiB +a job \(4813\)/);
    expect(all).toMatch(/RTX 5080 +\[\|+ +\] 40% .* its owner \(doom\)/);
    expect(all).toMatch(/^4815 +waiting +- /m);
    expect(all).toMatch(/^4813 +running +desktop-1 /m);
    for (const [columns, rows] of [
      [120, 30],
      [60, 12],
      [20, 5],
      [200, 60],
    ] as const) {
      const { lines } = picture({}, seen(), { ...screen, columns, rows });
      expect(lines).toHaveLength(rows);
      expect(Math.max(...lines.map((line) => [...line.text].length))).toBeLessThanOrEqual(columns);
    }
  });

  it('a card’s bar stands below that of its machine, and who is there is not cut off at 80 columns', () => {
    for (const columns of [80, 100, 120]) {
      const { lines } = picture({}, seen(), { ...screen, columns });
      const bars = lines.map(({ text: row }) => row.search(/\[[| ]+\] +\d+%/)).filter((at) => at >= 0);
      expect([columns, bars.length, new Set(bars).size]).toEqual([columns, 5, 1]);
      expect(lines.find(({ text: row }) => row.startsWith('MACHINE'))?.text).toContain('OWNER, GPU');
    }
  });

  it('sorts and filters; what is filtered away is nowhere', () => {
    const order = (state: Partial<TopState>): string[] =>
      [...text(state).matchAll(/^[* ] (kang|desktop-\d) /gm)].map(([, name]) => name as string);
    expect(order({})).toEqual(['desktop-1', 'desktop-2', 'kang']);
    expect(order({ sort: 'cpu' })[0]).toBe('kang');
    expect(order({ sort: 'gpu' })).toEqual(['desktop-1', 'desktop-2', 'kang']);
    expect(order({ sort: 'gpu', isReversed: true })).toEqual(['kang', 'desktop-2', 'desktop-1']);
    expect(order({ filter: '5080' })).toEqual(['desktop-2']);
    expect(text({ filter: '4813' })).not.toMatch(/^4815 /m);
  });

  it('the chosen row is one that is there, and the job is its', () => {
    expect(picture().job).toBe(4815);
    expect(picture({ chosen: 1 }).job).toBe(4813);
    expect(picture({ chosen: 99 }).job).toBe(4813);
    expect(picture({ filter: 'nothing' }).job).toBeNull();
    const one = seen();
    const many = { ...one, jobs: Array.from({ length: 500 }, (_, n) => ({ ...one.jobs[0]!, job: n + 1 }) as JobRow) };
    const { lines, job } = picture({ chosen: 250 }, many);
    expect(job).toBe(251);
    expect(lines.find(({ look, text: row }) => look === 'chosen' && row.startsWith('251 '))).toBeDefined();
  });

  it('events and attention have the lower half too, and what is wrong and how old it is stands above', () => {
    expect(text({ pane: 'events' })).toMatch(/warn: kang leads in term 12: desktop-1 was silent/);
    expect(text({ pane: 'attention' })).toContain('WHAT NEEDS ATTENTION');
    expect(picture({}, { ...seen(), away: 'waiting for the agent' }).lines[0]).toEqual({
      ...{ text: 'waiting for the agent', look: 'bad' },
    });
    expect(text({ isHelping: true })).toContain('sort machines by the next');
    expect(text({ why: 4815 }, { ...seen(), why: ['4815 eval waits'] })).toContain('4815 eval waits');
  });

  it("strangers' names steer no terminal", () => {
    const evil = seen();
    const jobs = [{ ...evil.jobs[0]!, name: 'x\u001b[2J\u0007', project: 'a\nb' }];
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
    expect(picture({}, { ...evil, jobs }).lines.some((line) => /[\u0000-\u001f]/.test(line.text))).toBe(false);
  });
});

describe('keys', () => {
  it('what a terminal sends at once is several', () => {
    expect(keysIn('q\u001b[A\u001bOB\u001b[5~\u001b\r\t é')).toEqual([
      ...['q', 'up', 'down', 'page-up', 'escape', 'enter', 'tab', 'space', 'é'],
    ]);
  });

  it('sort, turn, move, change the lower half', () => {
    expect(press('s').state.sort).toBe('cpu');
    expect(press('<').state.sort).toBe('runs');
    expect(press('M').state.sort).toBe('memory');
    expect(press('rr').state.isReversed).toBe(false);
    expect(press('jj\u001b[A').state.chosen).toBe(1);
    expect(press('kkk').state.chosen).toBe(0);
    expect(press('\u001b[6~').state.chosen).toBe(10);
    expect(press('Gg\u001b[Fg').state.chosen).toBe(0);
    expect(press('\t').state.pane).toBe('events');
    expect(press('\u001b[Z').state.pane).toBe('attention');
    expect(press(' ').state.isFrozen).toBe(true);
  });

  it('a filter is typed, kept and taken away; q in it is a letter', () => {
    expect(press('/gpuq').state).toMatchObject({ filter: 'gpuq', isTyping: true });
    expect(press('/gpuq').wish).toBeNull();
    expect(press('/gpux\u007f\r').state).toMatchObject({ filter: 'gpu', isTyping: false });
    expect(press('/gpu\u001b').state).toMatchObject({ filter: '', isTyping: false });
    expect(press(`/${'a'.repeat(99)}`).state.filter).toHaveLength(40);
    expect(press('/\u0001').state.filter).toBe('');
  });

  it('why, help, and the end', () => {
    expect(press('\r').wish).toBe('why');
    expect(press('\t\r').wish).toBeNull();
    expect(press('?').state.isHelping).toBe(true);
    expect(press('?x').state.isHelping).toBe(false);
    expect(press('x', { ...firstTop, why: 12 }).state.why).toBeNull();
    expect(press('q').wish).toBe('quit');
    expect(press('?q').wish).toBe('quit');
    expect(press('\u0004').wish).toBe('quit');
    expect(press('zzz')).toEqual({ state: firstTop, wish: null });
  });
});
