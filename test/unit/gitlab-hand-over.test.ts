import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { GitlabHandOver, type HandsOver } from '../../node/agent/gitlab-hand-over.ts';
import type { Answer } from '../../protocol/asks.ts';
import type { ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { handsOverTo } from '../../scheduler/hosting/hand-over-rules.ts';
import { copiesLab } from './copies-lab.ts';
import { viewOf } from './snapshot-lab.ts';

const standbys = ['desktop-1', 'desktop-2'].map((node) => ({ node, because: 'named' }));
function lab(members: string[]) {
  const set = { version: 3, members, last: null, boot: 'b' };
  const all = copiesLab(['desktop-1', 'desktop-2'], { standbys, set }, 'http://g');
  all.run(5000);
  return all;
}

describe('to whom GitLab goes before its host does', () => {
  it('is whoever is in sync and answers, in the order in which the leader chose', () => {
    expect(handsOverTo(viewOf(lab(['desktop-2', 'desktop-1']), 'kang')).to).toEqual(['desktop-1', 'desktop-2']);
    const one = handsOverTo(viewOf(lab(['desktop-2']), 'kang'));
    expect(one).toEqual({ to: ['desktop-2'], unfit: 'desktop-1 is not in sync' });
    const view = viewOf(lab(['desktop-1']), 'kang', { liveness: () => ({ state: 'silent', since: 0 }) });
    expect(handsOverTo(view)).toEqual({ to: [], unfit: 'desktop-1 does not answer and desktop-2 is not in sync' });
  });

  it('is nobody from a machine that runs none, nor while it moves or is upgraded', () => {
    expect(handsOverTo(viewOf(lab(['desktop-1']), 'desktop-1')).to).toEqual([]);
    const all = lab(['desktop-1']);
    const hosted = { ...all.committed.gitlab.hosted!, upgrade: { image: 'i' } } as never;
    all.committed = { ...all.committed, gitlab: { ...all.committed.gitlab, hosted } };
    all.accepted = all.committed;
    all.run(1500);
    expect(handsOverTo(viewOf(all, 'kang'))).toMatchObject({ to: [], unfit: expect.stringContaining('upgraded') });
  });
});

/** As the real ones, and quicker. */
const timings = { leastMs: 100, heardMs: 300, lookMs: 2, cancelMs: 100 };

describe('the hand-over', () => {
  /** kang hosts; what is asked for, and said. */
  function rig(handsOver: HandsOver, members = ['desktop-1']) {
    const all = lab(members);
    let ledger: Ledger = all.committed;
    const asked: string[] = [];
    const said: string[] = [];
    const log = { info: (line: string) => said.push(line), warn: (line: string) => said.push(line) };
    const hosted = (over: object, host = 'kang'): void => {
      const { move: _move, ...rest } = ledger.gitlab.hosted!;
      ledger = { ...ledger, gitlab: { ...ledger.gitlab, host, hosted: { ...rest, ...over } } };
    };
    const wish = (to: string): void =>
      hosted({ move: { from: 'kang', to, there: {}, back: {}, since: 1, because: 'asked' } });
    let outcome: (node: string) => Promise<ChangeOutcome> = async (node) => {
      wish(node);
      return { state: 'done', because: 'asked' };
    };
    const cancelled: string[] = [];
    let cancels: () => Promise<Answer> = async () => {
      hosted({});
      return { kind: 'said', because: 'GitLab serves on where it is, and does not move' };
    };
    const one = new GitlabHandOver(
      {
        ...{ self: 'kang', handsOver, log, ledger: () => ledger },
        view: () => viewOf(all, 'kang', { ledger }),
        answer: (ask) => {
          cancelled.push(ask.to);
          return cancels();
        },
      },
      timings,
    );
    const stays = new AbortController();
    const leaves = (going: 'sleep' | 'shutdown', patienceMs = 6000) =>
      one.before({
        ...{ going, patienceMs, signal: stays.signal },
        move: (node, signal) => {
          asked.push(node);
          signal.throwIfAborted();
          return outcome(node);
        },
      });
    return {
      ...{ one, leaves, asked, said, cancelled, hosted, stays },
      outcomes: (next: (node: string) => Promise<ChangeOutcome>) => {
        outcome = next;
      },
      cancelsBy: (next: () => Promise<Answer>) => {
        cancels = next;
      },
    };
  }
  const ended = async (work: Promise<void>, withinMs: number): Promise<boolean> => {
    let isOver = false;
    void work.then(() => {
      isOver = true;
    });
    await pause(withinMs);
    return isOver;
  };

  it('is none unless the owner wants it, before what the owner named, from the host, and with time for it', async () => {
    for (const [handsOver, going, patienceMs] of [
      ['never', 'shutdown', 6000],
      ['shutdown', 'sleep', 6000],
      ['always', 'sleep', 90],
    ] as const) {
      const { leaves, asked } = rig(handsOver);
      expect(await ended(leaves(going, patienceMs), 20)).toBe(true);
      expect(asked).toEqual([]);
    }
    const elsewhere = rig('always');
    elsewhere.hosted({}, 'desktop-1');
    expect(await ended(elsewhere.leaves('sleep'), 20)).toBe(true);
    expect(elsewhere.asked).toEqual([]);
  });

  it('an owner who wants it hears beforehand that logind leaves no time', async () => {
    const { one, leaves, said } = rig('always');
    expect(one.attention()).toEqual([]);
    one.mayTake(50);
    expect(one.attention()).toMatchObject([
      { code: 'gitlab-hand-over', sentence: expect.stringContaining('systemd-logind leaves 0 s for it') },
    ]);
    expect(one.attention()[0]?.fix).toContain('InhibitDelayMaxSec');
    await leaves('shutdown', 50);
    expect(said).toEqual([expect.stringContaining('leaves 0 s')]);
    one.mayTake(60_000);
    expect(one.attention()).toEqual([]);
    const never = rig('never').one;
    never.mayTake(50);
    expect(never.attention()).toEqual([]);
  });

  it('holds the machine until the mesh has GitLab on the other one, and not longer', async () => {
    const all = rig('always');
    const work = all.leaves('sleep');
    expect(await ended(work, 400)).toBe(false);
    all.hosted({}, 'desktop-1');
    expect(await ended(work, 100)).toBe(true);
    expect([all.asked, all.cancelled]).toEqual([['desktop-1'], []]);
    expect(all.said.at(-1)).toContain('this machine may go');
  });

  it('what this machine hears late is waited for', async () => {
    const all = rig('always');
    all.outcomes(async () => ({ state: 'done', because: 'asked' }));
    const work = all.leaves('sleep');
    expect(await ended(work, 100)).toBe(false);
    all.hosted({ move: { from: 'kang', to: 'desktop-1', there: {}, back: {}, since: 1, because: 'asked' } });
    expect(await ended(work, 400)).toBe(false);
    all.hosted({}, 'desktop-1');
    expect(await ended(work, 100)).toBe(true);
  });

  it('of one that cannot, the next is asked; of one whose move came to nothing too', async () => {
    const all = rig('always', ['desktop-1', 'desktop-2']);
    all.outcomes(async (node) => {
      if (node === 'desktop-1') return { state: 'refused', because: 'its port is taken' };
      all.hosted({}, node);
      return { state: 'done', because: 'asked' };
    });
    expect(await ended(all.leaves('shutdown'), 100)).toBe(true);
    expect(all.asked).toEqual(['desktop-1', 'desktop-2']);
    expect(all.said[0]).toContain('its port is taken');
  });

  it('at the end of its time it is taken back, where its gate is not shut yet; else it goes on', async () => {
    const all = rig('always');
    const work = all.leaves('sleep', 400);
    expect(await ended(work, 300)).toBe(false);
    expect(await ended(work, 200)).toBe(true);
    expect(all.cancelled).toEqual(['desktop-1']);
    expect(all.said.at(-1)).toContain('GitLab serves on where it is');
    const late = rig('always');
    late.cancelsBy(() => Promise.reject(new AutogitError('unsupported', 'its gate is shut for it already')));
    expect(await ended(late.leaves('sleep', 400), 600)).toBe(true);
    expect(late.said.at(-1)).toContain('its gate is shut for it already');
    // A keeper that says nothing keeps no machine awake.
    const dumb = rig('always');
    dumb.cancelsBy(() => new Promise(() => undefined));
    expect(await ended(dumb.leaves('sleep', 400), 700)).toBe(true);
  });

  it('a move that a person has asked for is waited for, and stays wished where there is no time for it', async () => {
    const move = { from: 'kang', to: 'desktop-2', there: {}, back: {}, since: 1, because: 'asked' };
    const all = rig('always');
    all.hosted({ move });
    const work = all.leaves('sleep');
    expect(await ended(work, 100)).toBe(false);
    all.hosted({}, 'desktop-2');
    expect(await ended(work, 100)).toBe(true);
    expect(all.said.at(-1)).toContain('desktop-2, which brings it up: this machine may go');
    const late = rig('always');
    late.hosted({ move });
    expect(await ended(late.leaves('sleep', 300), 500)).toBe(true);
    expect([all, late].map(({ asked, cancelled }) => [asked, cancelled])).toEqual([
      [[], []],
      [[], []],
    ]);
  });

  it('is called off with what it was for, also while the machines are still looked at', async () => {
    const all = rig('always');
    const work = all.leaves('sleep');
    expect(await ended(work, 100)).toBe(false);
    all.stays.abort();
    expect(await ended(work, 100)).toBe(true);
    expect(all.cancelled).toEqual(['desktop-1']);
    const slow = rig('always', ['desktop-1', 'desktop-2']);
    slow.outcomes(() => new Promise(() => undefined));
    const looking = slow.leaves('sleep', 400);
    expect(await ended(looking, 600)).toBe(true);
    expect(slow.asked).toEqual(['desktop-1']);
  });
});
