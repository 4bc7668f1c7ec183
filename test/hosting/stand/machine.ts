import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LoopImage } from '../../../node/hosting/loop-image.ts';
import { BtrfsReplica } from '../../../node/hosting/replica/btrfs-replica.ts';
import type { Round, RoundSource, Sending, Standby } from '../../../node/hosting/replica/replica-ports.ts';
import { RoundHost } from '../../../node/hosting/replica/round-host.ts';
import { systemTools } from '../../../node/hosting/system-tools.ts';
import { type RoundName, roundText } from '../../../protocol/round-name.ts';
import { thin } from '../../../scheduler/hosting/copies/thinning.ts';
import { SteppedTools } from './stepped-tools.ts';

export const dataId = 'mesh-of-a-test/data-1';

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
  readonly replica: BtrfsReplica;
  pins = new Set<string>();

  private constructor(name: string, folder: string, image: LoopImage, tools: SteppedTools) {
    this.name = name;
    this.folder = folder;
    this.image = image;
    this.tools = tools;
    this.mount = join(folder, 'data');
    this.replica = new BtrfsReplica(this.mount, dataId, tools);
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

  /** As the host's other machine: what stands here is thinned here, by the names that came along. */
  get standby(): Standby {
    let taken = 0;
    return {
      node: this.name,
      held: async (): Promise<RoundName[]> => this.replica.rounds().map(({ name }) => name),
      take: async (round: Round, source: RoundSource, { pins }: Sending): Promise<void> => {
        await this.replica.receive(round, source);
        this.pins = new Set(pins.map(roundText));
        if (round.parent) this.pins.add(roundText(round.parent));
        if (++taken % 20 === 0) await this.replica.remove(thin(this.replica.rounds(), this.pins));
      },
    };
  }

  get live(): string {
    return this.replica.live;
  }
}

/** The rounds of a host with one standby, whose acknowledgement every push waits for. */
export const roundsTo = (
  host: Machine,
  standby: Machine,
  more: { bootMs: () => number; onProblem: (words: string) => void },
): RoundHost =>
  new RoundHost({
    replica: host.replica,
    standbys: [standby.standby],
    members: () => [standby.name],
    era: 1,
    epoch: 1,
    ...more,
  });

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
