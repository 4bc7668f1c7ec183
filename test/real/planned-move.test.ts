import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GitlabKeeper } from '../../node/hosting/gitlab-keeper.ts';
import type { HostedMove } from '../../protocol/hosted-move.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { KeeperRig } from './keeper-rig.ts';

/** SAFETY H7, H10. The keeper at both ends of a planned move, with engine, gate, copies and mesh played. */
const rig = new KeeperRig();
beforeEach(() => {
  rig.begins();
  const nodes = { kang: { name: 'kang' }, 'desktop-1': { name: 'desktop-1' } };
  rig.ledger = { ...rig.ledger, nodes } as typeof rig.ledger;
});
afterEach(() => rig.ends());

const data = 'data-three';
const wholeLog = 'aof_enabled:1\r\naof_rewrite_in_progress:0\r\naof_last_bgrewrite_status:ok\r\n';
const at = (path: string) => ({ place: { kind: 'folder' as const, path }, hostname: 'home.local' });
const move: HostedMove = {
  ...{ from: 'kang', to: 'desktop-1', there: at('/b'), back: at('/a'), since: 1, because: 'asked' },
};
let tree: string;
const markerOf = (): number => JSON.parse(readFileSync(join(tree, 'live/data/autogit-data.json'), 'utf8')).epoch;

/** Serving on kang, with somebody who holds copies. */
async function serving(): Promise<GitlabKeeper> {
  tree = join(rig.home, 'place');
  mkdirSync(join(tree, 'live/data'), { recursive: true });
  writeFileSync(join(tree, 'live/data/autogit-data.json'), JSON.stringify({ mesh: 'mesh', data, epoch: 3 }));
  const standbys = [{ node: 'desktop-1', because: 'it is there' }];
  const set = { version: 1, members: ['desktop-1'], last: null, boot: 'b' };
  rig.ledger.gitlab.hosted = hostedGitlab({
    ...{ data, preset: 'minimal', place: { kind: 'folder', path: tree } },
    copies: { agreed: ['desktop-1'], standbys, set, bases: {} },
  });
  const keeper = rig.begin();
  await rig.until(keeper, () => rig.state() === 'healthy' && rig.ledger.gitlab.url !== null);
  rig.order = [];
  return keeper;
}
const wish = (one: HostedMove | undefined = move): void => {
  rig.ledger.gitlab.hosted = { ...(rig.ledger.gitlab.hosted as HostedGitlab), ...(one && { move: one }) };
};
const lets = (): boolean => rig.behind?.isServing === true;
const mine = () => hostingOf(rig.ledger as unknown as Ledger)!;
const phaseHas = (words: string) => (): boolean => rig.seen.at(-1)?.move?.phase.includes(words) === true;

/** Serving, with a wish that waits for the other machine. */
async function waiting(): Promise<GitlabKeeper> {
  const keeper = await serving();
  rig.target = { waits: 'it pulls the image', percent: 40, fails: null };
  wish();
  await rig.until(keeper, phaseHas('pulls the image'));
  return keeper;
}

/** The same, taken back by a person, of which the mesh has not heard. */
async function takenBack(): Promise<GitlabKeeper> {
  const keeper = await waiting();
  rig.isHeard = false;
  expect(keeper.move.cancel(mine(), 'a person wants it no more')).toBeNull();
  return keeper;
}

describe('from here', () => {
  it('serves while the other machine is not ready; then gate, end, one more round, and the mesh is told what arrived', async () => {
    const keeper = await waiting();
    expect([rig.seen.at(-1)?.move?.percent, lets(), rig.order]).toEqual([40, true, []]);

    const atRound: unknown[] = [];
    const { calls } = rig.engine;
    let [atLast, atArrived] = [0, 0];
    rig.moved = {
      ...rig.moved,
      lastRound: async () => {
        atLast = calls.length;
        atRound.push(rig.behind, rig.order.slice(), rig.engine.running.size);
        return { era: 0, epoch: 3, number: 41 };
      },
      arrived: (_node, from) => {
        atArrived = calls.length;
        return { ...from, number: from.number + 1 };
      },
    };
    rig.target = { waits: null, percent: null, fails: null };
    // By the keeper's own looks: nothing wakes it.
    await expect.poll(() => rig.ledger.gitlab.epoch, { timeout: 10_000, interval: 20 }).toBe(4);
    // Nobody is served meanwhile: no look of a second is waited for between the steps, and each begins with that question.
    expect(calls.slice(atLast, atArrived)).not.toContain('find');
    expect(atRound).toEqual([null, ['gate of 3 closed', 'said closed 3'], 0]);
    expect(rig.told).toEqual([{ kind: 'gitlab-moved', data, epoch: 3, base: { era: 0, epoch: 3, number: 42 } }]);
    await rig.until(keeper, () => rig.order.includes('place closed'), false);
    expect(rig.seen.at(-1)).toBe(null);
  });

  it('its queue comes to rest while people are served, and with a log of each write in Redis it is ended at once behind the gate', async () => {
    rig.engine.redis = wholeLog;
    const keeper = await waiting();
    await rig.until(keeper, () => rig.seen.at(-1)?.queued?.each === 'second');
    let wasLetIn: boolean | null = null;
    rig.engine.onCall = (call) => {
      if (call === 'exec sv') wasLetIn = lets();
      if (/^(exec sv|kill|stop)/.test(call)) rig.order.push(call);
    };
    rig.target = { waits: null, percent: null, fails: null };
    await rig.until(keeper, () => rig.ledger.gitlab.epoch === 4);
    expect(wasLetIn).toBe(true);
    expect(rig.order.slice(0, 4)).toEqual(['exec sv', 'gate of 3 closed', 'said closed 3', 'kill c1']);
    expect(rig.order).not.toContain('stop');
  });

  it.each([
    ['has no log of each write', '', 'OK'],
    ['answers before it has written', wholeLog, 'ERR unknown option'],
  ])('where Redis %s it ends gently, as its queue is in memory yet', async (_, log, said) => {
    rig.engine.redis = log;
    rig.engine.writesFirst = said;
    const keeper = await waiting();
    await rig.until(keeper, () => log === '' || rig.seen.at(-1)?.queued?.each === 'second');
    rig.engine.onCall = (call) => void (/^(kill|stop)/.test(call) && rig.order.push(call));
    rig.target = { waits: null, percent: null, fails: null };
    await rig.until(keeper, () => rig.ledger.gitlab.epoch === 4);
    expect(rig.order.slice(0, 3)).toEqual(['gate of 3 closed', 'said closed 3', 'stop']);
  });

  it('what the other machine will never be ends the wish, and GitLab serves on in its epoch', async () => {
    const keeper = await serving();
    rig.target = { waits: null, percent: null, fails: 'image i is for arm64, and this machine is amd64' };
    wish();
    await rig.until(keeper, () => rig.told.length > 0);
    expect(rig.told).toMatchObject([{ isClosed: false, because: expect.stringContaining('is for arm64') }]);
    expect([rig.ledger.gitlab.epoch, rig.order]).toEqual([3, []]);
    await rig.until(keeper, () => lets() && rig.seen.at(-1)?.move === undefined);
  });

  it('a person takes the wish back while GitLab serves, and it is begun no more, though the mesh hears of it late', async () => {
    const keeper = await takenBack();
    rig.target = { waits: null, percent: null, fails: null };
    await rig.until(keeper, () => keeper.problems().length > 0);
    expect([rig.order, lets()]).toEqual([[], true]);
    rig.isHeard = true;
    await rig.until(keeper, () => mine().move === undefined);
    expect(rig.told.at(-1)).toMatchObject({ isClosed: false, because: 'a person wants it no more' });
    expect([rig.ledger.gitlab.epoch, lets()]).toEqual([3, true]);
    expect(keeper.move.cancel(mine(), 'once more')).toContain('nobody asked for a move');
    // The same machine may be wished again, as another wish.
    wish({ ...move, since: 2 });
    await rig.until(keeper, () => rig.ledger.gitlab.epoch === 4);
  });

  it('a wish that was taken back is begun by no agent that comes next either, however ready the other machine is', async () => {
    const keeper = await takenBack();
    // Killed before the mesh has heard of it.
    await keeper.stop();
    rig.order = [];
    rig.target = { waits: null, percent: null, fails: null };
    const next = rig.begin();
    await rig.until(next, () => next.problems().length > 0);
    rig.isHeard = true;
    await rig.until(next, () => mine().move === undefined);
    expect(rig.told.at(-1)).toMatchObject({ isClosed: false, because: 'a person wants it no more' });
    expect([rig.ledger.gitlab.epoch, rig.order.filter((one) => one.includes('closed'))]).toEqual([3, []]);
  });

  it('takes no wish back any more once its gate is shut for it: that is done to its end', async () => {
    const keeper = await serving();
    rig.moved = { ...rig.moved, arrived: () => null };
    wish();
    await rig.until(keeper, () => rig.order.includes('gate of 3 closed'));
    expect(keeper.move.cancel(mine(), 'a person wants it no more')).toContain('its gate is shut for it already');
    rig.moved = { ...rig.moved, arrived: (_node, from) => from };
    await rig.until(keeper, () => rig.ledger.gitlab.epoch === 4);
  });

  it('a round that never arrives: it goes on here, in the next epoch, with the data marked for it before the mesh is told', async () => {
    const keeper = await serving();
    rig.moved = { ...rig.moved, arrived: () => null };
    wish();
    await rig.until(keeper, phaseHas('the last round goes to'));
    mkdirSync(join(tree, 'live/data/git-data'));
    rig.isHeard = false;
    rig.skewMs += 200_000;
    await rig.until(keeper, () => markerOf() === 4);
    // It may have been ended at once, in the midst of a push.
    expect(rig.ran).toContainEqual(expect.stringMatching(/^find \S+\/live\/data\/git-data .*\*\.lock.* -delete$/));
    expect(rig.ledger.gitlab.epoch).toBe(3);
    rig.isHeard = true;
    await rig.until(keeper, () => rig.ledger.gitlab.epoch === 4);
    expect(rig.told).toMatchObject([{ isClosed: true, because: expect.stringContaining('did not arrive') }]);
    await rig.until(keeper, lets);
  });

  it('an agent that is killed with its gate closed does it to its end, with a round of its own', async () => {
    const keeper = await serving();
    rig.moved = { ...rig.moved, arrived: () => null };
    wish();
    await rig.until(keeper, phaseHas('the last round goes to'));
    await keeper.stop();
    rig.order = [];
    rig.moved = { ...rig.moved, arrived: (_node, from) => from };
    const next = rig.begin();
    await rig.until(next, () => rig.ledger.gitlab.epoch === 4);
    expect(rig.order.slice(0, 2)).toEqual(['gate of 3 closed', 'said closed 3']);
  });
});

describe('to here', () => {
  /** As the ledger has it once all of it is here. */
  const moved = (): void => {
    const copies = { agreed: ['desktop-1'], standbys: [], set: { version: 2, members: [], last: null, boot: null } };
    const hosted = hostedGitlab({ data, preset: 'minimal', copies: { ...copies, bases: {} } });
    rig.ledger.gitlab = {
      ...{ mode: 'hosted', url: 'http://home.local:8929', token: 't', host: 'kang', epoch: 4 },
      hosted: { ...hosted, move: { ...move, from: 'desktop-1', to: 'kang', base: { era: 0, epoch: 3, number: 7 } } },
    };
  };

  it('is started behind its shut gate, and lets people in only once the mesh has it stand', async () => {
    moved();
    rig.isHeard = false;
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.seen.some((one) => one?.state === 'healthy'));
    expect(lets()).toBe(false);
    rig.isHeard = true;
    await rig.until(keeper, lets);
    expect((rig.ledger.gitlab.hosted as HostedGitlab).move).toBeUndefined();
    expect(rig.ledger.gitlab.epoch).toBe(4);
  });

  it('and goes on to another machine in the same epoch, once that is ready', async () => {
    moved();
    const keeper = rig.begin();
    await rig.until(keeper, lets);
    rig.order = [];
    rig.target = { waits: 'it pulls the image', percent: null, fails: null };
    const nodes = { kang: { name: 'kang' }, 'desktop-2': { name: 'desktop-2' } };
    rig.ledger = { ...rig.ledger, nodes } as typeof rig.ledger;
    const hosted = rig.ledger.gitlab.hosted as HostedGitlab;
    const copies = { ...hosted.copies!, standbys: [{ node: 'desktop-2', because: 'it is there' }] };
    rig.ledger.gitlab.hosted = { ...hosted, copies, move: { ...move, to: 'desktop-2' } };
    await rig.until(keeper, phaseHas('pulls the image'));
    expect([lets(), rig.order, rig.told]).toEqual([true, [], []]);
    rig.target = { waits: null, percent: null, fails: null };
    await rig.until(keeper, () => rig.ledger.gitlab.epoch === 5);
    expect(rig.told).toMatchObject([{ kind: 'gitlab-moved', epoch: 4 }]);
  });

  it('that does not come up goes back, its gate closed first; nobody was let in', async () => {
    moved();
    rig.engine.endsWith = 1;
    const keeper = rig.begin();
    let wasOpen = false;
    await rig.until(keeper, () => {
      wasOpen ||= lets();
      return rig.ledger.gitlab.epoch === 5;
    });
    expect([wasOpen, rig.order.slice(0, 2), rig.ledger.gitlab.host]).toEqual([
      ...[false, ['gate of 4 closed', 'said closed 4'], 'desktop-1'],
    ]);
    expect(rig.told).toMatchObject([{ isClosed: true, because: expect.stringContaining('did not come up on kang') }]);
  });

  it('that does not come up as its engine is gone is given up too, once what runs stands still', async () => {
    moved();
    rig.engine.endsWith = 1;
    const keeper = rig.begin();
    await rig.until(keeper, () => rig.seen.length > 0);
    rig.engine.isAway = true;
    await rig.until(keeper, () => keeper.problems().length > 0);
    rig.skewMs += 100_000;
    await rig.until(keeper, () => true);
    expect(rig.order).toEqual([]);
    rig.skewMs += 30_000;
    await rig.until(keeper, () => rig.order.includes('said closed 4'));
    expect(rig.told).toEqual([]);
    rig.skewMs += 5000;
    await rig.until(keeper, () => rig.ledger.gitlab.epoch === 5);
    expect(rig.ledger.gitlab.host).toBe('desktop-1');
    expect(rig.told).toMatchObject([{ isClosed: true, because: expect.stringContaining('did not come up on kang') }]);
  });

  it('whose answer came and went before the mesh had it stand is said to have worked, and is not given up by itself', async () => {
    moved();
    rig.isHeard = false;
    const keeper = rig.begin();
    const journal = () => JSON.parse(readFileSync(join(rig.home, 'hosted-gitlab.json'), 'utf8')).moving;
    await rig.until(keeper, () => journal()?.isSaid === true);
    rig.engine.endsWith = 1;
    rig.engine.running.clear();
    await rig.until(keeper, phaseHas('does not any more'));
    rig.engine.isAway = true;
    await rig.until(keeper, () => keeper.problems().length > 0);
    rig.skewMs += 130_000;
    await rig.until(keeper, () => true);
    expect([rig.order, journal().givenUp]).toEqual([[], null]);
  });

  it('given up, it stays so for whichever agent comes next, however well GitLab is by then', async () => {
    moved();
    rig.engine.endsWith = 1;
    const keeper = rig.begin();
    const journal = () => JSON.parse(readFileSync(join(rig.home, 'hosted-gitlab.json'), 'utf8')).moving;
    rig.isHeard = false;
    await rig.until(keeper, () => rig.order.includes('gate of 4 closed'));
    expect(journal()).toMatchObject({ epoch: 4, isSaid: false, givenUp: expect.stringContaining('did not come up') });
    await keeper.stop();
    rig.engine.endsWith = null;
    rig.isHeard = true;
    const next = rig.begin();
    await rig.until(next, () => rig.ledger.gitlab.epoch === 5);
    expect(rig.told).toMatchObject([{ kind: 'gitlab-move-ends', isClosed: true }]);
  });
});
