import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach } from 'vitest';
import { CopiesRoom } from '../../node/agent/copies-room.ts';
import { systemClock } from '../../node/clock.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { mountsOf } from '../../node/hosting/mount-table.ts';
import { openPlace } from '../../node/hosting/place-making.ts';
import { type Log, openLog } from '../../node/log.ts';
import type { Answer } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import type { HostedCopies, HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import type { StandbySeen } from '../../protocol/report.ts';
import { roundText } from '../../protocol/round-name.ts';
import { withStandbys } from '../../scheduler/hosting/copies-set.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { install } from '../bench/debian.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { nothingBeside } from '../fixtures/nothing-beside.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';

/**
 * SAFETY H10. Two machines of this one: each with its own data place on a loop image, TCP between them, and the core's own edits of a ledger.
 * What an agent has around it (election, engine) is in the tests of deploying.
 */
export const data = 'data-of-copies';
const MiB = 1 << 20;

/** One ledger for both, written by the core's own rules. */
class TestMesh {
  ledger: Ledger;
  readonly machines = new Map<string, TestAgent>();

  constructor(place: HostedGitlab['place']) {
    const founded = foundedMesh({ store: 'store-K' });
    const node = (name: string) => ({ ...founded.nodes.K!, name, can: [...abilities] });
    this.ledger = { ...founded, nodes: { K: node('kang'), B: node('desktop-1') } };
    const { since: _s, because: _b, copies: _c, ...hosted } = hostedGitlab({ data, place });
    this.change({ kind: 'deploy-gitlab', host: 'K', hosted, agreed: ['B'], because: 'asked' });
    this.stands('B');
  }

  get copies(): HostedCopies {
    return hostingOf(this.ledger)?.copies as HostedCopies;
  }

  change(change: Change): ChangeOutcome {
    const after = applyChange(this.ledger, change, 1);
    if (isRefusal(after)) return { state: 'refused', because: after.refused };
    this.ledger = after;
    for (const { room } of this.machines.values()) room.ledgerChanged();
    return { state: 'done', because: 'it is done' };
  }

  /** As the leader chooses. */
  stands(...nodes: string[]): void {
    const { gitlab } = this.ledger;
    const copies = withStandbys(
      gitlab.hosted!.copies!,
      nodes.map((node) => ({ node, because: 'it is there' })),
    );
    this.ledger = { ...this.ledger, gitlab: { ...gitlab, hosted: { ...gitlab.hosted!, copies } } };
    for (const { room } of this.machines.values()) room.ledgerChanged();
  }
}

class TestAgent {
  readonly room: CopiesRoom;
  readonly log: Log;
  standby: StandbySeen | null = null;

  constructor(mesh: TestMesh, node: string, home: string) {
    mkdirSync(home, { recursive: true, mode: 0o700 });
    this.log = openLog(home);
    this.room = new CopiesRoom({
      ...{ nodeId: node, home, clock: { ...systemClock(), wallMs: () => Date.now() + aheadMs }, log: this.log },
      copyRateBytes: null,
      network: {
        ask: async (to, ask) => {
          const machine = mesh.machines.get(to);
          if (machine === undefined || cable.isOut || ask.kind !== 'open-copy-door') throw new Error('it is away');
          return cable.through(await machine.room.answer(node, ask));
        },
        addressOf: () => '127.0.0.1:1',
      },
      ...nothingBeside,
      isHosted: () => false,
      ledger: () => mesh.ledger,
      change: async (change) => mesh.change(change),
      feed: (happened) => {
        if (happened.kind === 'standby-seen') this.standby = happened.report;
      },
    });
    agents.push(this);
    this.room.start();
    mesh.machines.set(node, this);
  }
}

/** Between the two: out, nothing passes any more, and nobody is told. */
class Cable {
  isOut = false;
  readonly #ends: [Socket, Socket][] = [];

  async through(answer: Answer): Promise<Answer> {
    if (answer.kind !== 'copy-door') return answer;
    const server = createServer((from) => {
      const to = connect(answer.port, '127.0.0.1');
      for (const end of [from, to]) end.on('error', () => {});
      for (const end of [from, to]) end.on('close', () => [from, to].map((one) => one.destroy()));
      this.#ends.push([from, to]);
      server.close();
      from.pipe(to).pipe(from);
    });
    await new Promise<void>((listens) => server.listen(0, '127.0.0.1', listens));
    return { ...answer, port: (server.address() as AddressInfo).port };
  }

  pull(): void {
    this.isOut = true;
    for (const end of this.#ends.flat()) end.unpipe().pause();
  }

  plug(): void {
    this.isOut = false;
    for (const [from, to] of this.#ends) from.pipe(to).pipe(from);
  }

  away(): void {
    for (const end of this.#ends.flat()) end.destroy();
  }
}

export let cable: Cable;
/** Of every wall clock here. */
let aheadMs = 0;
/** Of this test, those that were stopped too. */
const agents: TestAgent[] = [];
export let folder: string;
export let mesh: TestMesh;
export let place: DataPlace;
export let kang: TestAgent;
export let desktop: TestAgent;
export let desktopHome: string;

beforeAll(() => install(hostingPrograms), 300_000);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 't-copies-'));
  cable = new Cable();
  aheadMs = 0;
});

/** `at`: where the data of both machines lie, each in a folder of its own. */
async function begin(kind: 'image' | 'subvolume', at: Record<'kang' | 'desktop-1', string>): Promise<void> {
  const path = join(at.kang, 'gitlab');
  mesh = new TestMesh({ kind, path });
  const wish = { mesh: mesh.ledger.mesh.id, data, epoch: 1, create: { bytes: 200 * MiB, reserveBytes: 0 } };
  place = await openPlace({ kind, path }, wish);
  writeFileSync(join(place.folders.data, 'row'), 'first');
  desktopHome = join(at['desktop-1'], 'desktop-1');
  desktop = new TestAgent(mesh, 'B', desktopHome);
  kang = new TestAgent(mesh, 'K', join(at.kang, 'kang'));
  kang.room.opened(hostingOf(mesh.ledger)!, place);
}
export const onOneDisk = () => begin('image', { kang: folder, 'desktop-1': folder });

/** Each of them with a btrfs of its own, as an owner has it. */
export async function onOwnersBtrfs(): Promise<void> {
  const disks = ['kang', 'desktop-1'].map((name) => {
    const disk = join(folder, `disk-${name}`);
    mkdirSync(disk);
    execFileSync('truncate', ['-s', '6G', `${disk}.img`]);
    execFileSync('mkfs.btrfs', ['-q', `${disk}.img`]);
    execFileSync('mount', ['-o', 'loop', `${disk}.img`, disk]);
    return [name, disk] as const;
  });
  await begin('subvolume', Object.fromEntries(disks) as Record<'kang' | 'desktop-1', string>);
}
afterEach(async () => {
  for (const { room, log } of agents.splice(0)) {
    await room.stop();
    log.close();
  }
  cable.away();
  await place.close();
  for (const { point } of mountsOf('self').filter((one) => one.point.startsWith(folder)))
    execFileSync('umount', [point]);
  for (const line of execFileSync('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], {
    encoding: 'utf8',
  }).split('\n')) {
    const [device, file] = line.trim().split(/\s+/);
    if (file?.startsWith(folder)) execFileSync('losetup', ['--detach', device as string]);
  }
  execFileSync('sh', ['-c', `chattr -i -R "${folder}" 2>/dev/null; true`]);
  rmSync(folder, { recursive: true, force: true });
});

export async function until(what: string, is: () => boolean, ms = 20_000): Promise<void> {
  for (let waited = 0; !is(); waited += 50) {
    if (waited > ms)
      throw new Error(`not in time: ${what}; ${JSON.stringify(kang.room.seen())}; ${JSON.stringify(desktop.standby)}`);
    await sleep(50);
  }
}
export const push = () => kang.room.pushes.ask(new AbortController().signal);
export const tree = (): string => {
  const at = join(desktopHome, 'gitlab-copies', data);
  return existsSync(join(at, 'mounted')) ? join(at, 'mounted') : at;
};
export const copied = (name: string): string =>
  readFileSync(join(tree(), 'copies/hot/rounds', roundText(desktop.standby!.newest!.round), 'hot/data', name), 'utf8');
export async function inSync(): Promise<void> {
  await until('a first round is there', () => desktop.standby?.newest != null);
  for (let at = 0; at < 20 && mesh.copies.set.members.length === 0; at++) {
    writeFileSync(join(place.folders.data, 'row'), `row ${at}`);
    await push();
  }
  await until('it is in sync', () => mesh.copies.set.members[0] === 'B');
}

/** The machine's agent begins anew. */
export function desktopAgain(): void {
  desktop = new TestAgent(mesh, 'B', desktopHome);
}
/** `wallAheadMs`: of every wall clock from now on. */
export function kangAgain(home: string, wallAheadMs = 0): void {
  aheadMs = wallAheadMs;
  kang = new TestAgent(mesh, 'K', home);
  kang.room.opened(hostingOf(mesh.ledger)!, place);
}
