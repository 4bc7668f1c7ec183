import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { CopiesRoom } from '../../node/agent/copies-room.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { BtrfsReplica } from '../../node/hosting/replica/btrfs-replica.ts';
import { KeptCopies } from '../../node/hosting/replica/kept-copies.ts';
import { PinFile } from '../../node/hosting/replica/pin-file.ts';
import type { BootMoment, Replica, ReplicaTools, Round } from '../../node/hosting/replica/replica-ports.ts';
import { replicaTools } from '../../node/hosting/replica/replica-tools.ts';
import { RoundDisk } from '../../node/hosting/replica/round-disk.ts';
import { RoundHost } from '../../node/hosting/replica/round-host.ts';
import type { Change } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedCopies } from '../../protocol/ledger-gitlab.ts';
import { compareRounds, type RoundName } from '../../protocol/round-name.ts';
import { nothingBeside } from '../fixtures/nothing-beside.ts';

const name = (number: number): RoundName => ({ era: 1, epoch: 1, number });
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'autogit-cut-'));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

const copiesOf = (over: Partial<HostedCopies['set']>): HostedCopies => ({
  agreed: ['B'],
  standbys: [{ node: 'B', because: 'chosen' }],
  set: { version: 3, members: [], last: null, boot: 'boot-one', ...over },
  bases: { 1: name(1) },
});
const silent = { info: () => undefined, warn: () => undefined } as never;

it('a sender that was cut off before its round is read does not hold up the standby for ever', async () => {
  // Only what a file system of btrfs does is played; the stream and its reader are real.
  const tools: ReplicaTools = {
    ...replicaTools,
    run: async () => '',
    feed: (_file, _args, stream) => replicaTools.feed('cat', [], stream),
  };
  const replica = new BtrfsReplica('bulk', folder, {
    owner: { mesh: 'm', data: 'd' },
    disk: new RoundDisk(folder, tools),
    tools,
  });
  await replica.open();
  const stream = new PassThrough();
  stream.on('error', () => undefined);
  stream.destroy(new Error('the host was cut off'));
  await new Promise((done) => setImmediate(done));
  const cut = Promise.reject(new Error('the host was cut off'));
  cut.catch(() => undefined);
  const round: Round = { part: 'bulk', name: name(1), atMs: 0, wallMs: 0, uuid: 'u', parent: null };
  await expect(replica.receive(round, { stream, done: cut, end: () => undefined })).rejects.toThrow();
});

it('a whole copy may take longer than two minutes, as long as it moves', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const stream = new PassThrough();
  const fed = replicaTools.feed('cat', [], stream);
  for (let minute = 0; minute < 4; minute++) {
    stream.write('x');
    await new Promise((done) => setImmediate(() => setImmediate(done)));
    vi.advanceTimersByTime(60_000);
  }
  stream.end();
  await fed;
  const stuck = replicaTools.feed('cat', [], new PassThrough());
  vi.advanceTimersByTime(121_000);
  await expect(stuck).rejects.toThrow('ended by a signal');
});

/** A replica whose rounds are numbers: nothing here is about disks. */
function played(
  part: 'hot' | 'bulk',
  snapshot: (name: RoundName) => Promise<void>,
  rounds: Round[] = [],
  moments = new Map<Round, BootMoment>(),
): Replica {
  return {
    part,
    open: async () => rounds,
    rounds: () => [...rounds].sort((a, b) => compareRounds(a.name, b.name)),
    momentOf: (round) => moments.get(round) ?? null,
    snapshot: async (one, atMs, moment) => {
      await snapshot(one);
      const round: Round = { part, name: one, atMs, wallMs: 0, uuid: 'u', parent: null };
      rounds.push(round);
      if (moment) moments.set(round, moment);
      return round;
    },
    hasChanged: async () => false,
    parentsFor: () => [],
    send: () => {
      throw new Error('nobody is sent anything here');
    },
    receive: async () => undefined,
    remove: async () => undefined,
  };
}

function hostWith(snapshot: () => Promise<void>, over: Partial<Parameters<typeof hostOf>[1]> = {}): RoundHost {
  return hostOf(snapshot, { copies: () => ({ ...copiesOf({}), standbys: [] }), isHost: () => true, ...over });
}

type HostOptions = ConstructorParameters<typeof RoundHost>[0];

function hostOf(
  snapshot: () => Promise<void>,
  over: Pick<HostOptions, 'copies' | 'isHost'> & Partial<Pick<HostOptions, 'hot' | 'bulk' | 'clock' | 'standby'>>,
): RoundHost {
  mkdirSync(join(folder, 'x'), { recursive: true });
  return new RoundHost({
    ...{ self: 'A', era: 1, epoch: 1, data: 'd', boot: 'boot-one', log: silent },
    hot: played('hot', snapshot),
    bulk: played('bulk', async () => undefined),
    disk: new RoundDisk(folder, replicaTools),
    pins: new PinFile(join(folder, 'pins.json'), replicaTools),
    standby: () => {
      throw new Error('there is none');
    },
    nameOf: (node) => node,
    change: async () => ({ state: 'done' }) as never,
    unprotected: async () => null,
    clock: { bootMs: () => performance.now(), bootId: () => 'b', wallMs: () => 1_000_000 },
    ...over,
  });
}

const isOver = async (what: Promise<unknown>, ms: number): Promise<boolean> =>
  Promise.race([what.then(() => true), new Promise<boolean>((done) => setTimeout(() => done(false), ms))]);

it('a push whose hook was ended waits on: the next one would read that everything is up to date', async () => {
  let go: () => void = () => undefined;
  const disk = new Promise<void>((done) => (go = done));
  const host = hostWith(() => disk);
  host.start();
  const hook = new AbortController();
  void host.ask(hook.signal);
  hook.abort();
  const settled = host.settled();
  const gate = new AbortController();
  const left = host.settled(gate.signal);
  expect(await isOver(settled, 200)).toBe(false);
  // Whoever asked and went away is waited for no more, and hears nothing.
  gate.abort();
  await expect(left).rejects.toThrow();
  go();
  await settled;
  await host.stop();
});

it('a push waits for no thinning: a file system that is slow to let rounds go holds up whoever ends it only', async () => {
  let go: () => void = () => undefined;
  const gone = new Promise<void>((done) => (go = done));
  let removals = 0;
  const hot: Replica = {
    ...played('hot', async () => undefined),
    remove: () => {
      removals += 1;
      return gone;
    },
  };
  // Rounds are half a second apart by it.
  const clock = { bootMs: () => 100 * performance.now(), bootId: () => 'b', wallMs: () => 1_000_000 };
  const host = hostWith(async () => undefined, { hot, clock });
  host.start();
  for (let push = 0; push < 50; push++) {
    await new Promise((done) => setTimeout(done, 10));
    await host.ask(new AbortController().signal);
  }
  // One at a time.
  expect(removals).toBe(1);
  const stopping = host.stop();
  expect(await isOver(stopping, 100)).toBe(false);
  go();
  await stopping;
});

it('what an agent of before let wait is taken into a round before anybody hears that nothing waits', async () => {
  let go: () => void = () => undefined;
  const disk = new Promise<void>((done) => (go = done));
  const host = hostWith(() => disk);
  host.start();
  const settled = host.settled();
  expect(await isOver(settled, 200)).toBe(false);
  go();
  await settled;
  await host.stop();
});

it("an agent that comes back with another time of day counts its rounds' age by the boot they were taken in", async () => {
  const days = 15 * 86_400_000;
  const kept = { hot: [] as Round[], bulk: [] as Round[] };
  const moments = new Map<Round, BootMoment>();
  /** How old B's copy is by an agent that begins now, and makes a round only where `makes`. */
  const ageBy = async (bootId: string, offMs: number, makes = false): Promise<number | null> => {
    const wallMs = () => 1e12 + performance.now() + offMs;
    let go: () => void = () => undefined;
    const held = makes ? Promise.resolve() : new Promise<void>((_, reject) => (go = () => reject(new Error('ends'))));
    const standby: HostOptions['standby'] = (node) => ({
      node,
      held: async (part) => kept[part].map(({ name: one, uuid }) => ({ name: one, uuid })),
      take: async () => undefined,
    });
    const host = hostOf(() => held, {
      ...{ copies: () => copiesOf({ members: ['B'] }), isHost: () => true, standby },
      hot: played('hot', () => held, kept.hot, moments),
      bulk: played('bulk', async () => undefined, kept.bulk, moments),
      clock: { bootMs: () => performance.now(), bootId: () => bootId, wallMs },
    });
    host.start();
    await new Promise((done) => setTimeout(done, 100));
    const { takenAt = null } = host.seen().standbys[0] ?? {};
    go();
    await host.stop();
    return takenAt === null ? null : wallMs() - takenAt;
  };
  await ageBy('b', 0, true);
  expect(kept.hot).toHaveLength(1);
  for (const offMs of [0, days, -days]) expect(await ageBy('b', offMs)).toBeLessThan(5000);
  // After a reboot the wall clock is all there is; the rounds played here are of its beginning.
  expect(await ageBy('another', 0)).toBeGreaterThan(days);
});

it('copies that a ledger of before a recovery by force does not know are not taken for those that a person took back', async () => {
  const place = join(folder, 'gitlab-copies', 'd');
  mkdirSync(place, { recursive: true });
  const removed: number[] = [];
  const seenBy = async (era: number, agreed: string[]): Promise<void> => {
    const copies = { ...copiesOf({}), agreed, standbys: [] };
    const ledger = {
      era: { counter: era },
      nodes: { A: {}, B: {} },
      gitlab: { mode: 'hosted', host: 'A', epoch: 1, hosted: { data: 'd', copies } },
    };
    const kept = new KeptCopies({
      ...{ self: 'B', home: folder, log: silent, ledger: () => ledger as never, report: () => undefined },
      openPlace: async () => {
        throw new Error('it is not to hold any now');
      },
      removePlace: async () => void removed.push(era),
      beforeClose: async () => false,
      isHosted: () => false,
      besides: () => ({}),
    });
    kept.start();
    await new Promise((done) => setTimeout(done, 50));
    await kept.stop();
  };
  await seenBy(1, ['B']);
  await seenBy(2, []);
  expect(removed).toEqual([]);
  await seenBy(2, ['B']);
  await seenBy(2, []);
  expect(removed).toEqual([2]);
});

it('where no round can be made the members leave the in-sync set before a push is acknowledged alone', async () => {
  let members = ['B'];
  const asked: Change[] = [];
  const hosted = { data: 'd', preset: 'home', url: null };
  const ledger = (): Ledger =>
    ({
      mesh: { id: 'm' },
      era: { counter: 1 },
      nodes: {},
      gitlab: { mode: 'hosted', host: 'A', epoch: 1, hosted: { ...hosted, copies: copiesOf({ members }) } },
    }) as never;
  const room = new CopiesRoom({
    ...{
      nodeId: 'A',
      home: folder,
      clock: {} as never,
      log: silent,
      copyRateBytes: null,
      network: {} as never,
      ledger,
    },
    change: async (change) => {
      asked.push(change);
      return { state: 'done' } as never;
    },
    feed: () => undefined,
    ...nothingBeside,
    isHosted: () => false,
  });
  room.opened({ data: 'd', epoch: 1 } as never, { kind: 'folder', path: folder } as DataPlace);
  // Whoever pushes the same once more hears of its refs, and that all is up to date, no sooner.
  const settled = room.pushes.settled();
  expect(await isOver(settled, 400)).toBe(false);
  expect(asked).toMatchObject([{ kind: 'copies-leave', nodes: ['B'], from: 3 }]);
  const answer = room.pushes.ask(new AbortController().signal);
  expect(await isOver(Promise.race([answer, settled]), 400)).toBe(false);
  expect(asked).toHaveLength(1);
  members = [];
  expect(await answer).toEqual({ isAlone: true });
  await settled;
  // An agent that ends says nothing of pushes that go on waiting for the next one.
  members = ['B'];
  const unsaid = room.pushes.settled();
  unsaid.catch(() => undefined);
  await room.stop();
  await expect(unsaid).rejects.toThrow();
});

it('while no round can be made a push waits, and whoever waits reads why; made again, it goes, and nothing is wrong any more', async () => {
  let because: string | null = 'btrfs subvolume failed with exit code 1: No space left on device';
  const host = hostWith(async () => {
    if (because !== null) throw new Error(because);
  });
  host.start();
  const push = host.ask(new AbortController().signal);
  expect(await isOver(push, 1200)).toBe(false);
  expect(host.waitWords()).toBe(`waits until A can make a copy of it: ${because}`);
  expect(host.seen()).toMatchObject({ arePushesSafe: false, problem: because });
  because = null;
  expect(await push).toEqual({ isAlone: true });
  await vi.waitFor(() => expect(host.seen().problem).toBe(null));
  await host.stop();
});

it('a push at a host of before, by a ledger that names another one, is answered by nobody, and nobody hears that none waits', async () => {
  let isHost = true;
  let copies: HostedCopies | null = { ...copiesOf({ members: ['B'] }), standbys: [] };
  const host = hostWith(async () => undefined, { copies: () => copies, isHost: () => isHost });
  host.start();
  const push = host.ask(new AbortController().signal);
  isHost = false;
  copies = null;
  host.ledgerChanged();
  expect(await isOver(Promise.race([push, host.settled()]), 800)).toBe(false);
  await host.stop();

  let gitlab: unknown = { mode: 'hosted', host: 'C', epoch: 2, hosted: { data: 'd', preset: 'home' } };
  const room = new CopiesRoom({
    ...{ nodeId: 'A', home: folder, clock: {} as never, log: silent, copyRateBytes: null, network: {} as never },
    ...{ ledger: () => ({ mesh: { id: 'm' }, era: { counter: 1 }, nodes: {}, gitlab }) as never },
    ...{
      change: async () => ({}) as never,
      feed: () => undefined,
      ...nothingBeside,
      isHosted: () => false,
    },
  });
  const asked = room.pushes.ask(new AbortController().signal);
  expect(await isOver(Promise.race([asked, room.pushes.settled()]), 500)).toBe(false);
  expect(room.pushes.waitWords()).toBe('waits: this machine hosts GitLab no more');
  gitlab = { mode: 'hosted', host: 'A', epoch: 3, hosted: { data: 'd', preset: 'home' } };
  expect(await asked).toEqual({ isAlone: false });
  await room.stop();
});
