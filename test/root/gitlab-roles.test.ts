import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { leftLines } from '../../node/agent/copies-left.ts';
import { CopiesRoom } from '../../node/agent/copies-room.ts';
import { systemClock } from '../../node/clock.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { GitlabKeeper } from '../../node/hosting/gitlab-keeper.ts';
import type { BehindGate } from '../../node/hosting/lease-at-gate.ts';
import { mountsOf } from '../../node/hosting/mount-table.ts';
import { openPlace } from '../../node/hosting/place-making.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import type { Log } from '../../node/log.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import type { GitlabSeen, StandbySeen } from '../../protocol/report.ts';
import { type RoundName, roundText } from '../../protocol/round-name.ts';
import { withStandbys } from '../../scheduler/hosting/copies-set.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { install } from '../bench/debian.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { nothingBeside } from '../fixtures/nothing-beside.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';
import { PlayedEngine } from '../real/played-engine.ts';

/**
 * SAFETY H10. Who hosts changes, and with it what each machine does with its one place. Two machines of this one, each with keeper,
 * copies and images of its own, TCP between them, and the core's own edits of a ledger; engine and gate are played.
 */
const data = 'data-of-roles';
const MiB = 1 << 20;
let folder: string;
let mesh: TestMesh;

class TestMesh {
  ledger: Ledger;
  readonly machines = new Map<string, TestMachine>();

  constructor(place: HostedGitlab['place']) {
    const founded = foundedMesh({ store: 'store-K' });
    const node = (name: string) => ({ ...founded.nodes.K!, name, can: [...abilities] });
    const voters = { K: { store: 'store-K', weight: 3 }, B: { store: 'store-B', weight: 2 } };
    this.ledger = {
      ...founded,
      configuration: { voters, next: null } as unknown as Ledger['configuration'],
      nodes: { K: node('kang'), B: node('desktop-1') },
    };
    const { since: _s, because: _b, copies: _c, ...hosted } = hostedGitlab({ data, place, preset: 'minimal' });
    this.change({ kind: 'deploy-gitlab', host: 'K', hosted, agreed: ['B'], because: 'asked' });
    this.standsBy(['B']);
  }

  get hosting() {
    return hostingOf(this.ledger)!;
  }

  change(change: Change): ChangeOutcome {
    const after = applyChange(this.ledger, change, 1);
    if (isRefusal(after)) return { state: 'refused', because: after.refused };
    this.becomes(after);
    return { state: 'done', because: 'it is done' };
  }

  becomes(ledger: Ledger): void {
    this.ledger = ledger;
    for (const machine of this.machines.values()) machine.ledgerChanged();
  }

  standsBy(nodes: string[]): void {
    const { gitlab } = this.ledger;
    const standbys = nodes.map((node) => ({ node, because: 'it is there' }));
    const copies = withStandbys(gitlab.hosted!.copies!, standbys);
    this.becomes({ ...this.ledger, gitlab: { ...gitlab, hosted: { ...gitlab.hosted!, copies } } });
  }

  /** Nobody asked for it: the host is silent, and the leader names another one with the round that it told of. */
  takenOver(host: string, place: HostedGitlab['place'], base: RoundName): void {
    const { gitlab } = this.ledger;
    const { copies } = this.hosting;
    const epoch = gitlab.epoch + 1;
    const set = { ...copies!.set, members: [], last: null, boot: null };
    const standbys = [{ node: gitlab.host!, because: 'it ran it' }];
    const now = { agreed: [gitlab.host!], standbys, set, bases: { ...copies!.bases, [epoch]: base } };
    this.becomes({
      ...this.ledger,
      gitlab: { ...gitlab, host, epoch, hosted: { ...gitlab.hosted!, place, copies: now } },
    });
  }
}

/** Of no file: what an agent began beside its turns says its word after the end too. */
const log = { info: () => undefined, warn: () => undefined } as unknown as Log;

/** An agent, as far as GitLab goes; the containers outlive it. */
class TestMachine {
  readonly home: string;
  readonly #node: string;
  readonly engine: PlayedEngine;
  readonly room: CopiesRoom;
  readonly keeper: GitlabKeeper;
  readonly #leases: NodeJS.Timeout;
  behind: BehindGate | null = null;
  wasLetIn: number[] = [];
  seen: GitlabSeen | null = null;
  standby: StandbySeen | null = null;

  constructor(node: string, engine = new PlayedEngine()) {
    this.#node = node;
    this.engine = engine;
    const home = join(folder, node);
    mkdirSync(home, { recursive: true, mode: 0o700 });
    this.home = home;
    const [clock, ledger] = [systemClock(), () => mesh.ledger];
    const change = async (one: Change) => mesh.change(one);
    this.room = new CopiesRoom({
      ...{ nodeId: node, home, clock, log, ledger, change, copyRateBytes: null },
      network: {
        ask: async (to, ask) => {
          const machine = mesh.machines.get(to);
          if (machine === undefined || ask.kind !== 'open-copy-door') throw new Error('it is away');
          return machine.room.answer(node, ask);
        },
        addressOf: () => '127.0.0.1:1',
      },
      ...nothingBeside,
      isHosted: (of) => this.keeper.holds(of),
      feed: (happened) => {
        if (happened.kind === 'standby-seen') this.standby = happened.report;
      },
    });
    this.keeper = new GitlabKeeper({
      ...{ self: node, home, clock, log, ledger, change, host: engine, tools: systemTools, copies: this.room },
      people: async () => ({ users: [], groups: [] }),
      openPlace: async (hosting, mayMake, id, isUnchecked = false) => {
        await this.room.freed(hosting);
        const create = mayMake ? { bytes: 200 * MiB, reserveBytes: 0 } : null;
        const wish = { mesh: id, data, epoch: hosting.epoch, create, isUnchecked };
        return withoutInside(await openPlace(hosting.place, wish));
      },
      removePlace: async () => undefined,
      gateFor: ({ epoch }) => ({
        renew: async (lease) => {
          this.behind = lease;
          if (lease.isServing) this.wasLetIn.push(epoch);
        },
        close: async () => {
          this.behind = null;
        },
        end: async () => undefined,
        problems: () => [],
      }),
      move: { target: async () => ({ waits: null, percent: null, fails: null }), busy: () => null },
      ...{ seal: (text) => text, unseal: (text) => text, sealForVoters: (text) => text },
      meshToken: () => mesh.ledger.gitlab.token,
      report: (one) => {
        this.seen = one;
      },
      onGateClosed: () => undefined,
    });
    mesh.machines.set(node, this);
    this.keeper.start();
    this.room.start();
    this.#leases = setInterval(() => {
      const { host, epoch } = mesh.ledger.gitlab;
      if (host === node) this.keeper.holdLease(epoch, clock.bootMs() + 4000);
    }, 200);
  }

  ledgerChanged(): void {
    this.keeper.ledgerChanged();
    this.room.ledgerChanged();
  }

  /** Killed, as far as a test can: nothing is unmounted, and its GitLab goes on. */
  async ends(): Promise<void> {
    clearInterval(this.#leases);
    mesh.machines.delete(this.#node);
    await Promise.all([this.keeper.stop(), this.room.stop()]);
  }
}

/** A container that is played has no folders. */
const withoutInside = (place: DataPlace): DataPlace =>
  new Proxy(place, {
    get(of, name) {
      if (name === 'checkInside') return () => undefined;
      const value: unknown = Reflect.get(of, name, of);
      return typeof value === 'function' ? value.bind(of) : value;
    },
  });

beforeAll(() => install(hostingPrograms), 300_000);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 't-roles-'));
});
afterEach(async () => {
  await Promise.all([...mesh.machines.values()].map((machine) => machine.ends()));
  for (const { point } of mountsOf('self').filter((one) => one.point.startsWith(folder))) await unmounted(point);
  const attached = execFileSync('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], {
    encoding: 'utf8',
  });
  for (const line of attached.split('\n').filter((one) => one.includes(folder)))
    execFileSync('losetup', ['--detach', line.trim().split(/\s+/)[0] as string]);
  execFileSync('sh', ['-c', `chattr -i -R "${folder}" 2>/dev/null; true`]);
  for (const path of [folder, `${folder}.img`]) rmSync(path, { recursive: true, force: true });
});

/** What an agent began beside its turns may have a file open yet. */
async function unmounted(point: string): Promise<void> {
  for (let tries = 0; ; tries++)
    try {
      execFileSync('umount', [point], { stdio: 'ignore' });
      return;
    } catch (error) {
      if (tries === 50) throw error;
      await sleep(100);
    }
}

async function until(what: string, is: () => boolean, ms = 30_000): Promise<void> {
  for (let waited = 0; !is(); waited += 50) {
    if (waited > ms) {
      const said = [...mesh.machines].map(([node, { seen, standby, room }]) => ({
        node,
        seen,
        standby,
        copies: room.seen(),
      }));
      throw new Error(`not in time: ${what}; ${JSON.stringify(said)}; ${JSON.stringify(mesh.hosting)}`);
    }
    await sleep(50);
  }
}
let at: Record<'K' | 'B', HostedGitlab['place']>;
const tree = (node: 'K' | 'B'): string => (at[node].kind === 'image' ? join(at[node].path, 'mounted') : at[node].path);
const row = (node: 'K' | 'B', name = 'row'): string => join(tree(node), 'live/data', name);
const newest = (machine: TestMachine): RoundName => machine.standby!.newest!.round;
/** Null where that round has none. */
function copied(node: 'K' | 'B', machine: TestMachine): string | null {
  const file = join(tree(node), 'copies/hot/rounds', roundText(newest(machine)), 'hot/data/row');
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
}
const parentOf = (node: 'K' | 'B', name: RoundName): string =>
  JSON.parse(readFileSync(join(tree(node), 'copies/hot/markers', `${roundText(name)}.json`), 'utf8')).parent;
const serves = (machine: TestMachine): boolean => machine.behind?.isServing === true;

/** `subvolume`: on a btrfs of the owner's. */
async function begun(kind: 'image' | 'subvolume'): Promise<{ kang: TestMachine; desktop: TestMachine }> {
  if (kind === 'subvolume') {
    execFileSync('truncate', ['-s', '6G', `${folder}.img`]);
    execFileSync('mkfs.btrfs', ['-q', `${folder}.img`]);
    execFileSync('mount', ['-o', 'loop', `${folder}.img`, folder]);
  }
  at = { K: { kind, path: join(folder, 'srv') }, B: { kind, path: join(folder, 'B/gitlab-copies', data) } };
  mesh = new TestMesh(at.K);
  const [kang, desktop] = [new TestMachine('K'), new TestMachine('B')];
  await until('GitLab serves on kang', () => serves(kang) && mesh.ledger.gitlab.url !== null);
  mkdirSync(row('K', 'postgresql/data'), { recursive: true });
  writeFileSync(row('K', 'postgresql/data/PG_VERSION'), '16');
  writeFileSync(join(tree('K'), 'live/config/gitlab-secrets.json'), '{}');
  writeFileSync(row('K'), 'of kang');
  await kang.room.pushes.ask(new AbortController().signal);
  await until('it is copied', () => desktop.standby?.newest != null && copied('B', desktop) === 'of kang');
  return { kang, desktop };
}

/** The other machine comes into the in-sync set, as a machine to which GitLab moves is. */
async function inSync(host: 'K' | 'B', machine: TestMachine, other: 'K' | 'B'): Promise<void> {
  for (let times = 0; times < 30 && mesh.hosting.copies!.set.members.length === 0; times++) {
    writeFileSync(row(host), `row ${times}`);
    await machine.room.pushes.ask(new AbortController().signal);
  }
  expect(mesh.hosting.copies!.set.members).toEqual([other]);
}

it('taken over by the machine with copies, the former host back as one that holds them, and moved back again: one place each, its role changed', {
  timeout: 120_000,
}, async () => {
  let { kang, desktop } = await begun('image');

  // Both agents are killed; what kang took meanwhile is on no other machine.
  await Promise.all([kang.ends(), desktop.ends()]);
  const base = newest(desktop);
  writeFileSync(row('K'), 'nowhere else');
  mesh.takenOver('B', at.B, base);
  desktop = new TestMachine('B', desktop.engine);
  await until('GitLab serves on desktop-1', () => serves(desktop));
  expect(desktop.seen).toMatchObject({ epoch: 2, state: 'healthy' });
  expect([readFileSync(row('B'), 'utf8'), desktop.standby]).toEqual(['of kang', null]);
  expect(execFileSync('findmnt', ['-no', 'OPTIONS', tree('B')], { encoding: 'utf8' })).not.toContain('noexec');

  // Back after so long that another machine has its place as a standby: what it served is kept apart all the same, and can be looked at.
  mesh.standsBy([]);
  kang = new TestMachine('K', kang.engine);
  await until('what it served is open', () => 'path' in kang.room.heldAt(data));
  expect(readFileSync(join(tree('K'), 'fenced-1/live/data/row'), 'utf8')).toBe('nowhere else');
  await until('it says so', () => kang.standby !== null);
  expect([kang.standby, kang.room.drillable()]).toEqual([expect.objectContaining({ data, newest: null }), null]);

  // With its container of before, it holds copies: rounds come as differences to the base.
  writeFileSync(row('B'), 'of desktop-1');
  mesh.standsBy(['K']);
  await until('kang has what is new', () => kang.standby?.newest != null && newest(kang).epoch === 2);
  await until('all of it', () => copied('K', kang) === 'of desktop-1');
  expect([kang.engine.running.size, kang.seen, existsSync(row('K'))]).toEqual([0, null, false]);
  expect(kang.wasLetIn.includes(1)).toBe(false);
  expect(readFileSync(join(tree('K'), 'fenced-1/live/data/row'), 'utf8')).toBe('nowhere else');
  expect(leftLines(kang.home, mesh.hosting)).toMatchObject([{ code: 'gitlab-fenced' }]);
  const first = readdirSync(join(tree('K'), 'copies/hot/markers')).find((file) => file.startsWith('0-2-'));
  expect(JSON.parse(readFileSync(join(tree('K'), 'copies/hot/markers', first!), 'utf8')).parent).toBe(roundText(base));

  // And back by a person's word: nothing is left behind where nothing was written after the last round.
  await inSync('B', desktop, 'K');
  writeFileSync(row('B'), 'last of desktop-1');
  const held = kang.room.heldAt(data);
  expect(held).toMatchObject({ kind: 'image', path: at.K.path });
  const there = { place: at.K, hostname: 'kang.local' };
  const wish = { kind: 'move-gitlab', data, epoch: 2, to: 'K', there, because: 'asked' } as const;
  expect(mesh.change(wish)).toMatchObject({ state: 'done' });
  await until('it is the next epoch on kang', () => mesh.ledger.gitlab.epoch === 3);
  await until('GitLab serves on kang', () => serves(kang));
  expect(mesh.ledger.gitlab).toMatchObject({ host: 'K', epoch: 3, token: expect.any(String) });
  expect(mesh.hosting.moved).toMatchObject({ from: 'B', to: 'K', isDone: true });
  expect(readFileSync(row('K'), 'utf8')).toBe('last of desktop-1');
  await until('desktop-1 holds copies', () => desktop.standby?.newest != null && newest(desktop).epoch === 3);
  expect([parentOf('B', newest(desktop)).startsWith('0-'), readdirSync(tree('B')).sort()]).toEqual([
    true,
    ['copies', 'logs'],
  ]);
  expect(leftLines(desktop.home, mesh.hosting)).toEqual([]);
});

it('that does not come up there goes back with all of it: nobody was let in, and neither machine keeps anything apart', {
  timeout: 120_000,
}, async () => {
  const { kang, desktop } = await begun('subvolume');
  await inSync('K', kang, 'B');
  desktop.engine.endsWith = 1;
  const there = { place: at.B, hostname: 'desktop.local' };
  expect(mesh.change({ kind: 'move-gitlab', data, epoch: 1, to: 'B', there, because: 'asked' })).toMatchObject({
    state: 'done',
  });
  await until('it is tried on desktop-1', () => existsSync(row('B')));
  expect(mesh.ledger.gitlab).toMatchObject({ host: 'B', epoch: 2 });
  const last = readFileSync(row('B'), 'utf8');
  // What its boot wrote there.
  writeFileSync(row('B'), 'of a trial');
  await until('GitLab is back on kang', () => mesh.ledger.gitlab.epoch === 3 && serves(kang));
  expect([mesh.hosting.moved?.isDone, readFileSync(row('K'), 'utf8'), desktop.wasLetIn]).toEqual([false, last, []]);
  await until('desktop-1 holds copies', () => desktop.standby?.newest != null && newest(desktop).epoch === 3);
  expect(readdirSync(tree('B')).sort()).toEqual(['autogit-place.json', 'copies', 'logs']);
  expect(readdirSync(tree('K')).filter((name) => name.startsWith('fenced'))).toEqual([]);
});
