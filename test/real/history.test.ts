import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AuditFile } from '../../node/history/audit-file.ts';
import { History } from '../../node/history/mesh-history.ts';
import { TimelineFile } from '../../node/history/timeline-file.ts';
import type { AuditEntry } from '../../protocol/audit.ts';
import type { TimelineEvent } from '../../protocol/history.ts';
import type { TimelineMark } from '../../scheduler/history/timeline-mark.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { Lab } from '../unit/jobs-lab.ts';
import { measured } from '../unit/jobs-lab-machines.ts';
import { viewOf } from '../unit/snapshot-lab.ts';

let home: string;
const histories: History[] = [];
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-history-'));
});
afterEach(() => {
  for (const history of histories.splice(0)) history.stop();
  rmSync(home, { recursive: true, force: true });
});

const file = (): string => join(home, 'history', 'timeline.jsonl');
const event = (n: number, sentence = `it happened ${n}`): TimelineEvent => ({
  ...{ id: String(n).padStart(16, '0'), at: '2026-11-30T05:00:00.000Z', kind: 'member', severity: 'info' },
  ...{ node: null, sentence, because: null },
});
const mark = (term: number): TimelineMark => ({ leader: { node: 'kang', term } }) as TimelineMark;

describe('the file of the timeline', () => {
  it('keeps the newest 2,000 and what was remembered last, in bounded bytes, for its owner alone', async () => {
    const path = join(home, 'timeline.jsonl');
    const kept = new TimelineFile(path);
    kept.load(1);
    const long = 'x'.repeat(900);
    for (let n = 1; n <= 6_000; n++) kept.append([event(n, long)], mark(n));
    expect(statSync(path).size).toBeLessThan((2 << 20) + 4_096);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const all = await new TimelineFile(path).events();
    expect(all.length).toBeGreaterThanOrEqual(900);
    expect(all.at(-1)).toEqual(event(6_000, long));
    const { events, mark: last } = new TimelineFile(path).load(3);
    expect(events.map(({ id }) => Number(id))).toEqual([5_998, 5_999, 6_000]);
    expect(last).toEqual(mark(6_000));
  });

  it('a line that was cut short, and what is no line of ours, is passed over', async () => {
    const path = join(home, 'timeline.jsonl');
    const kept = new TimelineFile(path);
    kept.load(1);
    kept.append([event(1)], mark(1));
    appendFileSync(path, '{"v":1,"events":[{"id":"00');
    kept.append([event(2)], mark(2));
    appendFileSync(path, '{"v":9}\nnull\n[]\n{"v":1,"events":3,"mark":{}}\n');
    expect((await kept.events()).map(({ id }) => Number(id))).toEqual([1, 2]);
    expect(new TimelineFile(path).load(9).mark).toEqual(mark(2));
    expect(new TimelineFile(join(home, 'none')).load(9)).toEqual({ events: [], mark: null });
    expect(await new TimelineFile(join(home, 'none')).events()).toEqual([]);
  });
});

describe('who did what, as a voter writes it down', () => {
  const act = (n: number, at = n): AuditEntry => ({
    n,
    at,
    who: 'alice',
    on: 'kang',
    what: 'drain',
    sentence: 'drained',
  });

  it('each once, over restarts, after a line that was cut short, and also where numbers come again', async () => {
    const path = join(home, 'audit.jsonl');
    new AuditFile(path).append([act(1), act(2)]);
    const kept = new AuditFile(path);
    kept.append([act(1), act(2), act(3)]);
    kept.append([act(1), act(2), act(3)]);
    appendFileSync(path, '{"n":');
    new AuditFile(path).append([act(2), act(3), act(4)]);
    expect((await kept.entries()).map(({ n }) => n)).toEqual([1, 2, 3, 4]);
    // It was away for longer than they travel; after a recovery by force they are counted from an older one on.
    new AuditFile(path).append([act(9), act(10)]);
    new AuditFile(path).append([act(10, 77)]);
    expect((await kept.entries()).map(({ n }) => n)).toEqual([1, 2, 3, 4, 9, 10, 10]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    kept.append([]);
  });

  it('a full one becomes the one before, and nothing is told twice by that', async () => {
    const path = join(home, 'audit.jsonl');
    new AuditFile(path).append([act(1)]);
    appendFileSync(path, `${'x'.repeat(5 << 20)}\n`);
    const next = new AuditFile(path);
    next.append([act(1), act(2)]);
    expect(statSync(path).size).toBeLessThan(1_000);
    new AuditFile(path).append([act(1), act(2), act(3)]);
    expect((await next.entries()).map(({ n }) => n)).toEqual([1, 2, 3]);
  });
});

/** What an agent sees of two machines, of which the test says who leads. */
function watched() {
  const lab = new Lab({ machines: { kang: measured(), 'desktop-1': measured() } });
  lab.run(5_000);
  const said: string[] = [];
  let term = 12;
  const seen = () => viewOf(lab, 'desktop-1', { leader: { node: 'kang', term, sinceWallMs: lab.wallMs } });
  const start = (): History => {
    const history = new History({
      ...{ self: 'desktop-1', home, clock: { wallMs: () => Date.now(), bootMs: () => performance.now() } },
      log: { warn: (sentence) => void said.push(sentence) },
      view: () => ({ ...seen(), wallMs: Date.now() }),
      status: () => snapshot(seen()),
    });
    histories.push(history);
    history.start();
    return history;
  };
  const elect = (history: History): void => {
    term += 1;
    history.heard({ event: 'leader-lost', because: `kang was silent in term ${term - 1}` });
    history.heard({ event: 'leader-elected', because: 'elected' });
  };
  return { start, said, elect };
}

describe('what a machine remembers', () => {
  it('an election is told at once to who waits, with why; over a restart nothing is told twice, and numbers grow', async () => {
    const { start, elect } = watched();
    const first = start();
    first.onLedger();
    const [born] = (await first.timeline('0', 30_000)).events;
    expect(born).toMatchObject({ kind: 'election', sentence: 'kang leads in term 12', because: null });
    const waiting = first.timeline(born!.id, 30_000);
    elect(first);
    const [second] = (await waiting).events;
    expect(second).toMatchObject({ sentence: 'kang leads in term 13', because: 'kang was silent in term 12' });
    expect(second!.id > born!.id).toBe(true);
    first.stop();
    const next = start();
    next.onLedger();
    expect((await next.timeline(null)).events).toEqual([born, second]);
    elect(next);
    const [third] = (await next.timeline(second!.id, 30_000)).events;
    expect(third).toMatchObject({ sentence: 'kang leads in term 14' });
    expect((await next.timeline(born!.id)).events).toEqual([second, third]);
    expect((await next.timeline(third!.id)).events).toEqual([]);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(statSync(join(home, 'history')).mode & 0o777).toBe(0o700);
  });

  it('a mark that an earlier version wrote, or a broken one, costs no more than a beginning anew', async () => {
    const { start } = watched();
    const first = start();
    first.onLedger();
    await first.timeline('0', 30_000);
    first.stop();
    const { mark } = JSON.parse(readFileSync(file(), 'utf8').trim()) as { mark: TimelineMark };
    writeFileSync(file(), `${JSON.stringify({ v: 1, events: [event(7)], mark: { mesh: mark.mesh } })}\n`);
    const history = start();
    // The first look finds that it is of no use.
    history.onLedger();
    const { events } = await history.timeline(event(7).id, 30_000);
    expect(events).toMatchObject([{ sentence: 'kang leads in term 12' }]);
  });

  it('use is kept over a restart', () => {
    const { start } = watched();
    const first = start();
    first.onLedger();
    const looked = new Promise<void>((resolve) => {
      const looking = setInterval(() => {
        if (first.usage().machines.length < 2) return;
        clearInterval(looking);
        resolve();
      }, 20);
    });
    return looked.then(() => {
      first.stop();
      expect(readdirSync(join(home, 'history'))).toContain('usage.json');
      expect(statSync(join(home, 'history', 'usage.json')).mode & 0o777).toBe(0o600);
      const { machines } = start().usage();
      expect(machines.map(({ node }) => node)).toEqual(['desktop-1', 'kang']);
      expect(machines[0]?.memory.at(-1) ?? machines[0]?.memory.at(-2)).toEqual(expect.any(Number));
    });
  });

  it('a folder that takes nothing is said once, and what happens is still told', async () => {
    const { start, said, elect } = watched();
    writeFileSync(join(home, 'history'), 'in the way');
    const history = start();
    history.onLedger();
    const { events } = await history.timeline('0', 30_000);
    expect(events).toHaveLength(1);
    elect(history);
    expect((await history.timeline(events[0]!.id, 30_000)).events).toHaveLength(1);
    history.stop();
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/^what happened in the mesh is not kept: /);
    expect(readFileSync(join(home, 'history'), 'utf8')).toBe('in the way');
    chmodSync(join(home, 'history'), 0o600);
  });
});
