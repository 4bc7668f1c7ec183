import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../../node/clock.ts';
import { LoopImage } from '../../../node/hosting/loop-image.ts';
import { writeMarker } from '../../../node/hosting/place-records.ts';
import { BtrfsReplica } from '../../../node/hosting/replica/btrfs-replica.ts';
import { PinFile } from '../../../node/hosting/replica/pin-file.ts';
import type { Round, RoundSource, Sending, Standby } from '../../../node/hosting/replica/replica-ports.ts';
import { replicaTools } from '../../../node/hosting/replica/replica-tools.ts';
import { RoundDisk } from '../../../node/hosting/replica/round-disk.ts';
import { RoundHost } from '../../../node/hosting/replica/round-host.ts';
import { systemTools } from '../../../node/hosting/system-tools.ts';
import type { Change, ChangeOutcome } from '../../../protocol/changes.ts';
import type { HostedCopies } from '../../../protocol/ledger-gitlab.ts';
import { roundText } from '../../../protocol/round-name.ts';
import { thin } from '../../../scheduler/hosting/copies/thinning.ts';
import { SteppedTools } from './stepped-tools.ts';

export const owner = { mesh: 'mesh-of-a-test', data: 'data-of-a-test' };

/** A folder of our own, which PostgreSQL's user passes through. In memory for what is about rounds and not about disks. */
export function ownFolder(place: 'disk' | 'memory' = 'disk'): string {
  const folder = mkdtempSync(join(place === 'disk' ? tmpdir() : '/dev/shm', 'autogit-replica-'));
  chmodSync(folder, 0o711);
  return folder;
}

/** One machine with its image: host or standby, as it is asked. */
export class Machine {
  readonly name: string;
  readonly folder: string;
  readonly image: LoopImage;
  readonly mount: string;
  readonly tools: SteppedTools;
  readonly disk: RoundDisk;
  readonly replica: BtrfsReplica;
  readonly bulk: BtrfsReplica;

  private constructor(name: string, folder: string, image: LoopImage, tools: SteppedTools) {
    this.name = name;
    this.folder = folder;
    this.image = image;
    this.tools = tools;
    this.mount = join(folder, 'data');
    this.disk = new RoundDisk(this.mount, tools);
    const parts = { owner, disk: this.disk, tools };
    this.replica = new BtrfsReplica('hot', this.mount, parts);
    this.bulk = new BtrfsReplica('bulk', this.mount, parts);
  }

  /** With the image that is there, or a new one. */
  static async make(name: string, under: string, bytes = 300 << 20): Promise<Machine> {
    const folder = join(under, name);
    mkdirSync(folder, { recursive: true });
    const path = join(folder, `t-replica-${name}.img`);
    const image = existsSync(path)
      ? new LoopImage(path, systemTools)
      : await LoopImage.create(path, bytes, systemTools);
    const machine = new Machine(name, folder, image, new SteppedTools());
    await image.attach(machine.mount, name === 'host' ? 'host' : 'standby');
    return machine;
  }

  async open(): Promise<void> {
    for (const part of [this.replica, this.bulk]) await part.open();
  }

  /** Host, once: an empty place for the data, as the product makes it. */
  async prepare(epoch = 1): Promise<void> {
    for (const part of [this.replica, this.bulk]) await replicaTools.run('btrfs', ['subvolume', 'create', part.live]);
    await replicaTools.run('btrfs', ['subvolume', 'set-default', this.live]);
    mkdirSync(join(this.live, 'data'));
    await writeMarker(join(this.live, 'data'), { ...owner, epoch }, replicaTools);
  }

  /** As a move will do it: the living data are those of this round from now on, under a new epoch. */
  async serve(round: Round, epoch: number): Promise<void> {
    const next = join(this.mount, 'live-next');
    await replicaTools.run('btrfs', ['subvolume', 'snapshot', this.replica.folderOf(round), next]);
    if (existsSync(this.live)) renameSync(this.live, join(this.mount, `fenced-${epoch}`));
    renameSync(next, this.live);
    await replicaTools.run('btrfs', ['subvolume', 'set-default', this.live]);
    await writeMarker(join(this.live, 'data'), { ...owner, epoch }, replicaTools);
    await this.disk.sync(this.disk.mark);
  }

  /** As the host's other machine: what stands here is thinned here, by the names that came along. */
  get standby(): Standby {
    let taken = 0;
    const of = { hot: this.replica, bulk: this.bulk };
    return {
      node: this.name,
      held: async (part) => of[part].rounds(),
      take: async (round: Round, source: RoundSource, { pins }: Sending): Promise<void> => {
        await of[round.part].receive(round, source);
        const kept = new Set([...pins, ...(round.parent ? [round.parent] : [])].map(roundText));
        if (++taken % 20 === 0) await of[round.part].remove(thin(of[round.part].rounds(), kept));
      },
    };
  }

  get live(): string {
    return this.replica.live;
  }
}

/** What of a ledger the host's rules see; `quorum`: whether whoever falls behind may be taken out of the set. */
class SetOfTest {
  #copies: HostedCopies;
  readonly #hasQuorum: boolean;

  constructor(agreed: string[], members: string[], hasQuorum: boolean) {
    this.#hasQuorum = hasQuorum;
    const standbys = agreed.map((node) => ({ node, because: 'it is there' }));
    this.#copies = { agreed, standbys, set: { version: 1, members, last: null, boot: null }, bases: {} };
  }

  copies = (): HostedCopies => this.#copies;

  change = async (change: Change): Promise<ChangeOutcome> => {
    const { set, bases } = this.#copies;
    if (change.kind === 'copies-leave' && !this.#hasQuorum) return { state: 'unknown', because: 'there is no quorum' };
    const next = { ...set, version: set.version + 1 };
    if (change.kind === 'copies-begin') {
      next.boot = change.boot;
      if (change.base) bases[change.epoch] = change.base;
    }
    if (change.kind === 'copy-enters') next.members = [...set.members, change.node];
    if (change.kind === 'copies-leave') next.members = set.members.filter((node) => !change.nodes.includes(node));
    this.#copies = { ...this.#copies, set: next };
    return { state: 'done', because: 'it is done' };
  };
}

/** The rounds of a host with its standbys, whose acknowledgement every push waits for, whatever happens to them. */
export function roundsTo(
  host: Machine,
  standby: Machine | readonly Machine[],
  onProblem: (words: string) => void,
  member = true,
  more: { standbyOf?: (machine: Machine) => Standby; hasQuorum?: boolean } = {},
): RoundHost {
  const { standbyOf = (machine: Machine) => machine.standby, hasQuorum = !member } = more;
  const standbys = [standby].flat();
  const names = standbys.map(({ name }) => name);
  const set = new SetOfTest(names, member ? names : [], hasQuorum);
  const lines = new Map(standbys.map((machine) => [machine.name, standbyOf(machine)]));
  const say = (words: unknown): void => onProblem(String(words));
  return new RoundHost({
    ...{ self: host.name, era: 1, epoch: 1, data: owner.data, boot: String(Math.random()) },
    ...{
      hot: host.replica,
      bulk: host.bulk,
      disk: host.disk,
      pins: new PinFile(join(host.mount, 'pins'), replicaTools),
    },
    standby: (node) => lines.get(node) as Standby,
    nameOf: (node) => node,
    copies: set.copies,
    isHost: () => true,
    change: set.change,
    unprotected: async () => null,
    clock: systemClock(),
    log: { info: () => {}, warn: say },
  });
}

/** Whatever a test did: nothing of ours stays mounted or attached. */
export async function putAway(machines: readonly (Machine | null | undefined)[], folder: string): Promise<void> {
  const problems: unknown[] = [];
  for (const machine of machines) await machine?.image.detach().catch((error) => problems.push(error));
  if (problems.length > 0) throw problems[0];
  rmSync(folder, { recursive: true, force: true });
}

/** The mounts and loop devices under a folder, for the test that nothing is left, and to take away what a failure left. */
export function leftUnder(folder: string): string[] {
  return execFileSync('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(folder));
}
