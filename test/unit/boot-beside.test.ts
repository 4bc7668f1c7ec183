import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BootBeside } from '../../node/hosting/beside/boot-beside.ts';
import { CloneEnded, type CloneWish } from '../../node/hosting/clone/gitlab-clones.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { quietFile, wakingFile } from '../../node/hosting/push/push-hook.ts';
import type { BesideWish } from '../../scheduler/hosting/beside-rules.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { round, Standby, there } from './beside-lab.ts';

/** Who boots beside, with clones that the test plays. */
let home: string;
let one: Standby;
let wishes: CloneWish[];
let said: string[];
let refuses: Error | null;
let bootMs: number;
let purpose: string | null;
let swept: number;
let clone: { id: string; kept: boolean; over: 'ended' | 'taken' | null };
let up: () => void;
let lost: () => void;
let all: BootBeside[];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 't-beside-'));
  one = new Standby();
  [wishes, said, refuses, bootMs, purpose, swept, all] = [[], [], null, 0, null, 0, []];
  [up, lost] = [() => undefined, () => undefined];
});
afterEach(async () => {
  for (const each of all) await each.stop();
  rmSync(home, { recursive: true, force: true });
});

const place = { kind: 'subvolume', path: '/copies' } as DataPlace;

function begin(wish: BesideWish = 'auto'): BootBeside {
  const beside = new BootBeside({
    ...{ self: 'desktop-1', home, wish },
    clock: { bootMs: () => bootMs, wallMs: () => 1_000_000 },
    log: { info: (text) => void said.push(text), warn: (text) => void said.push(text) },
    ledger: () => one.ledger,
    view: () => one.now(),
    clones: {
      get purpose() {
        return purpose;
      },
      sweep: async () => {
        swept += 1;
      },
      start: async (asked, { signal }) => {
        wishes.push(asked);
        // As a real one: what waits for it ends with it.
        signal.addEventListener('abort', () => up());
        signal.throwIfAborted();
        if (refuses !== null) throw refuses;
        const here = { id: `c${wishes.length}`, kept: false, over: null as 'ended' | 'taken' | null };
        clone = here;
        return {
          ...{ id: here.id, folders: {} as never, exec: async () => ({ code: 0, out: '' }), works: async () => null },
          untilItWorks: () =>
            new Promise<number>((done, fail) => {
              up = () => done(20_000);
              lost = () => fail(new CloneEnded('boot beside'));
            }),
          keep: () => {
            here.kept = true;
          },
          taken: async () => {
            here.over = 'taken';
            lost();
          },
          end: async () => {
            here.over = 'ended';
          },
        };
      },
    },
    drillable: () => ({
      hosting: hostingOf(one.ledger)!,
      place,
      source: { hot: '/h', bulk: null },
      round: round(one.newest['desktop-1'] ?? 0),
    }),
    at: () => there,
  });
  all.push(beside);
  return beside;
}
const look = async (beside: BootBeside, silentMs: number): Promise<void> => {
  one.silentMs = silentMs;
  beside.ledgerChanged();
  // Its hook is put on the disk first.
  const begun = () => said.filter((text) => text.startsWith('GitLab is booted here while')).length;
  await vi.waitFor(() => expect(wishes).toHaveLength(begun()), { timeout: 10_000 });
  await new Promise((done) => setTimeout(done, 30));
};

describe('who boots beside', () => {
  it('boots what would be GitLab here, without its queue, and hands it over once the ledger has it go on here with that round', async () => {
    const beside = begin();
    const none = { beside: { round: null, since: null, isUp: false, waits: null } };
    await look(beside, 4000);
    expect([wishes, beside.seen()]).toEqual([[], none]);
    expect(begin('never').seen().beside.waits).toBe('its owner wants no GitLab booted on it beforehand');
    await look(beside, 6000);
    expect(wishes).toMatchObject([
      { purpose: 'boot beside', image: one.next().image, serves: { epoch: 2, sshPort: null }, isPolite: false },
    ]);
    expect(existsSync(quietFile(home))).toBe(true);
    expect(beside.seen()).toEqual({ beside: { round: round(7), since: 1_000_000, isUp: false, waits: null } });
    up();
    await look(beside, 20_000);
    expect(beside.seen().beside.isUp).toBe(true);
    // Not before the epoch is committed, whoever asks.
    expect(beside.ready(one.next())).toBeNull();
    expect(beside.ready({ ...one.next(), host: 'desktop-1', epoch: 2 })).toBeNull();
    one.takenOver();
    await look(beside, 46_000);
    expect(clone.kept).toBe(true);
    expect(beside.ready(hostingOf(one.ledger)!)).toEqual({ id: 'c1', folder: '/copies/clone' });
    await beside.taken();
    expect([clone.over, beside.seen(), existsSync(quietFile(home))]).toEqual(['taken', none, true]);
    await beside.stop();
    expect(clone.over).toBe('taken');
  });

  it('what is taken in before it is up, or comes too late for that, is nothing that a person has to look at', async () => {
    const beside = begin();
    await look(beside, 6000);
    one.takenOver();
    await look(beside, 6000);
    expect(beside.ready(hostingOf(one.ledger)!)).toEqual({ id: 'c1', folder: '/copies/clone' });
    await beside.taken();
    await look(beside, 6000);
    expect(clone.over).toBe('taken');
    expect(said.filter((text) => text.includes('cannot be booted'))).toEqual([]);
    // The place went to GitLab's host, this very machine, while the clone was made in it.
    one = new Standby();
    const late = begin();
    refuses = new Error('btrfs failed with exit code 1');
    one.silentMs = 6000;
    late.ledgerChanged();
    one.takenOver();
    await vi.waitFor(() => expect(said.at(-1)).toMatch(/is thrown away/));
    expect(said.filter((text) => text.includes('cannot be booted'))).toEqual([]);
  });

  it('throws it away when its host is back, and is in no hurry for the next', async () => {
    const beside = begin();
    await look(beside, 6000);
    one.away = [];
    await look(beside, 0);
    expect([clone.over, existsSync(quietFile(home)), beside.seen().beside.since]).toEqual(['ended', false, null]);
    expect(said.at(-1)).toBe('what was booted of GitLab beforehand is thrown away: kang is back');
    one.away = ['kang'];
    await look(beside, 6000);
    expect([wishes.length, beside.seen().beside.waits]).toEqual([1, 'it was for nothing a moment ago: kang is back']);
    bootMs += 15_000;
    await look(beside, 6000);
    expect(wishes).toHaveLength(2);
    one.away = [];
    await look(beside, 0);
    one.away = ['kang'];
    bootMs += 15_000;
    await look(beside, 6000);
    expect(wishes).toHaveLength(2);
    bootMs += 15_000;
    await look(beside, 6000);
    expect(wishes).toHaveLength(3);
  });

  it('with another round than was promised it is thrown away, and GitLab booted anew', async () => {
    const beside = begin();
    await look(beside, 6000);
    one.takenOver('desktop-1', 6);
    expect(beside.ready(hostingOf(one.ledger)!)).toBeNull();
    await look(beside, 46_000);
    expect([clone.over, clone.kept]).toEqual(['ended', false]);
    expect(said.at(-1)).toContain('GitLab goes on with round 0-1-6, and this was of 0-1-7');
  });

  it('a newer round has it begin anew at once', async () => {
    const beside = begin();
    await look(beside, 6000);
    one.newest['desktop-1'] = 8;
    await look(beside, 7000);
    expect(clone.over).toBe('ended');
    await look(beside, 7500);
    expect([wishes.length, beside.seen().beside.round]).toEqual([2, round(8)]);
  });

  it('what cannot be booted is said, and tried again later; a drill that is under way ends first', async () => {
    refuses = new Error('a boot beside needs 2.5 GiB of memory');
    purpose = 'drill';
    const beside = begin();
    await look(beside, 6000);
    expect(wishes).toEqual([]);
    purpose = null;
    await look(beside, 6000);
    await look(beside, 6000);
    expect(wishes).toHaveLength(1);
    expect(beside.seen().beside.waits).toBe('it was for nothing a moment ago: a boot beside needs 2.5 GiB of memory');
    expect(existsSync(quietFile(home))).toBe(false);
  });

  it('before a GitLab is made anew none of its clones runs, and its queue is not held up', async () => {
    const beside = begin();
    await look(beside, 6000);
    one.takenOver();
    await look(beside, 46_000);
    expect(clone.kept).toBe(true);
    const hosting = hostingOf(one.ledger)!;
    await beside.none({ ...hosting, place: { kind: 'subvolume', path: '/copies' } });
    expect([clone.over, swept, existsSync(quietFile(home)), existsSync(wakingFile(home))]).toEqual([
      'ended',
      1,
      false,
      false,
    ]);
    expect(beside.ready(hosting)).toBeNull();
  });
});
