import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LoopImage } from '../../node/hosting/loop-image.ts';
import { isSeenBy } from '../../node/hosting/mount-table.ts';
import { BtrfsReplica } from '../../node/hosting/replica/btrfs-replica.ts';
import { replicaTools } from '../../node/hosting/replica/replica-tools.ts';
import { RoundDisk } from '../../node/hosting/replica/round-disk.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import { roundText } from '../../protocol/round-name.ts';
import { install } from '../bench/debian.ts';
import { copyAsCut, withCopy } from '../hosting/stand/image-copy.ts';
import { leftUnder, Machine, owner, ownFolder, putAway } from '../hosting/stand/machine.ts';
import { manyRounds } from '../hosting/stand/many-rounds.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';
import { ended } from '../hosting/stand/writers.ts';

/** Images, mounts and rounds on real btrfs. */
let folder: string;
let machines: Machine[] = [];
const children: ChildProcess[] = [];

beforeAll(() => install(hostingPrograms), 300_000);
beforeEach(() => {
  folder = ownFolder();
  machines = [];
});
afterEach(async () => {
  for (const child of children.splice(0)) await ended(child);
  await putAway(machines, folder);
  expect(leftUnder(folder)).toEqual([]);
});

async function make(name: string, bytes = 256 << 20): Promise<Machine> {
  const machine = await Machine.make(name, folder, bytes);
  machines.push(machine);
  return machine;
}

const at = (mount: string, mesh = owner.mesh): BtrfsReplica =>
  new BtrfsReplica('hot', mount, {
    owner: { ...owner, mesh },
    disk: new RoundDisk(mount, replicaTools),
    tools: replicaTools,
  });
const free = (path: string): number => statfsSync(path).bavail * statfsSync(path).bsize;

describe('a row of rounds', () => {
  beforeEach(() => {
    rmdirSync(folder);
    folder = ownFolder('memory');
  });

  it('300 with thinning: the standby keeps what the host keeps, and the room stays what it was', async () => {
    const pair = [await make('host'), await make('standby')] as const;
    const looks = await manyRounds(pair, 300, 100, () => {});
    const [early, , late] = looks;
    // 25 minutes: two of all, the rest by the minute; up to 20 more between two thinnings.
    expect(late?.kept[0]).toBeLessThanOrEqual(25 + 23 + 20);
    expect(late?.kept[1]).toBeLessThanOrEqual(25 + 23 + 20);
    expect((late?.usedBytes[1] ?? 0) - (early?.usedBytes[1] ?? 0)).toBeLessThan(8 << 20);
    const [host, standby] = pair.map(({ replica }) => new Set(replica.rounds().map(({ name }) => roundText(name))));
    const last = [...(host ?? [])].at(-1);
    expect(standby?.has(last as string)).toBe(true);
    expect([...(standby ?? [])].filter((name) => !host?.has(name)).length).toBeLessThanOrEqual(1);
  });

  it('tells whether anything was written, and looks only where the file system has begun another transaction since', async () => {
    const host = await make('host');
    await host.open();
    await host.prepare();
    const [file, other] = [join(host.live, 'file'), join(host.mount, 'other')];
    writeFileSync(file, 'one');
    let looks = 0;
    host.tools.before = async (step) => {
      if (step === 'btrfs subvolume show') looks += 1;
    };
    let number = 0;
    const round = () => host.replica.snapshot({ era: 1, epoch: 1, number: ++number }, 5000 * number);
    const isChanged = async (newest: Awaited<ReturnType<typeof round>>): Promise<[boolean, number]> => {
      looks = 0;
      return [await host.replica.hasChanged(newest), looks];
    };
    const first = await round();
    expect([await isChanged(first), await isChanged(first)]).toEqual([
      [false, 1],
      [false, 0],
    ]);
    // Of the same length and fsynced, renamed, removed, another mode: each is a round's due.
    const writes = [
      () => execFileSync('dd', [`of=${file}`, 'conv=notrunc,fsync', 'status=none'], { input: 'two' }),
      () => renameSync(file, `${file}-2`),
      () => chmodSync(`${file}-2`, 0o600),
      () => rmSync(`${file}-2`),
    ];
    for (const write of writes) {
      const newest = await round();
      expect((await isChanged(newest))[0]).toBe(false);
      write();
      expect([await isChanged(newest), await isChanged(newest)]).toEqual([
        [true, 1],
        [true, 1],
      ]);
    }
    // What is written beside the data is no change of them.
    const last = await round();
    expect(await isChanged(last)).toEqual([false, 1]);
    writeFileSync(other, 'beside');
    expect([await isChanged(last), await isChanged(last)]).toEqual([
      [false, 1],
      [false, 0],
    ]);
  });

  it('of a hundred rounds each is known at once when they are opened, and one that was written to, or is another one, is none', async () => {
    const pair = [await make('host'), await make('standby')] as const;
    await manyRounds(pair, 100, 100, () => {});
    for (const { replica, tools } of pair) {
      const before = replica.rounds().map(({ name }) => roundText(name));
      expect(before.length).toBeGreaterThan(20);
      const steps: string[] = [];
      tools.before = async (step) => void (step.startsWith('btrfs subvolume') && steps.push(step));
      expect((await replica.open()).map(({ name }) => roundText(name))).toEqual(before);
      expect(steps).toEqual(['btrfs subvolume list']);
      const [writable, other] = replica.rounds().map((round) => replica.folderOf(round)) as [string, string];
      execFileSync('btrfs', ['property', 'set', '-f', '-ts', writable, 'ro', 'false']);
      execFileSync('btrfs', ['subvolume', 'delete', other], { stdio: 'ignore' });
      execFileSync('btrfs', ['subvolume', 'snapshot', '-r', writable, other], { stdio: 'ignore' });
      steps.length = 0;
      expect((await replica.open()).map(({ name }) => roundText(name))).toEqual(before.slice(2));
      expect(steps.filter((step) => step !== 'btrfs subvolume show')).toEqual([
        ...['btrfs subvolume list', 'btrfs subvolume delete', 'btrfs subvolume sync'],
      ]);
      expect(steps.length).toBe(4);
    }
  });

  it('deletes no round at an opening that cannot tell what is one: it ends, and the next one has them all', async () => {
    const host = await make('host');
    await host.open();
    await host.prepare();
    for (const number of [1, 2, 3]) await host.replica.snapshot({ era: 1, epoch: 1, number }, 5000 * number);
    const all = host.replica.rounds().map(({ uuid }) => uuid);
    // Of memory that has run out no program begins; what comes a moment later may go through again.
    host.tools.before = async (step) => {
      if (step === 'btrfs subvolume list' || step === 'btrfs subvolume show') throw new Error('spawn btrfs EAGAIN');
    };
    await expect(host.replica.open()).rejects.toThrow('EAGAIN');
    host.tools.before = async () => {};
    expect((await host.replica.open()).map(({ uuid }) => uuid)).toEqual(all);
  });

  it('the former host goes on as a standby from the last common round: what it gets is the difference', async () => {
    const [host, standby] = [await make('host'), await make('standby')];
    await manyRounds([host, standby], 3, 3, () => {});
    writeFileSync(join(host.live, 'large'), Buffer.alloc(40 << 20, 'x'));
    const whole = host.replica;
    const base = await whole.snapshot({ era: 1, epoch: 1, number: 4 }, 20_000);
    const before = whole.rounds().at(-2);
    await standby.replica.receive({ ...base, parent: before?.name ?? null }, whole.send(base, before ?? null));

    // The other machine serves now, from the common round; the one that was host wrote on meanwhile.
    writeFileSync(join(host.live, 'lost'), 'written after the last round');
    await standby.serve(base, 2);
    writeFileSync(join(standby.live, 'new'), 'of the new host');
    const next = await standby.replica.snapshot({ era: 1, epoch: 2, number: 1 }, 25_000);
    const source = standby.replica.send(next, base);
    let bytes = 0;
    host.tools.within = async (sent) => {
      bytes = sent;
    };
    await host.replica.open();
    await host.replica.receive({ ...next, parent: base.name }, source);
    const got = host.replica.folderOf(next);
    expect(readFileSync(join(got, 'new'), 'utf8')).toBe('of the new host');
    expect(existsSync(join(got, 'lost'))).toBe(false);
    expect(readFileSync(join(got, 'large'))).toHaveLength(40 << 20);
    expect(bytes).toBeLessThan(100_000);
    // Back again, by the copy that came back.
    await host.serve(next, 3);
    const third = await host.replica.snapshot({ era: 1, epoch: 3, number: 1 }, 30_000);
    await standby.replica.receive({ ...third, parent: next.name }, host.replica.send(third, next));
    expect(standby.replica.rounds().at(-1)?.uuid).toBe(third.uuid);
  });

  it("refuses what is not whole, not ours or somebody else's, and the next try goes through", async () => {
    const [host, standby] = [await make('host'), await make('standby')];
    await manyRounds([host, standby], 1, 1, () => {});
    const [parent] = host.replica.rounds();
    writeFileSync(join(host.live, 'more'), Buffer.alloc(4 << 20, 'y'));
    const round = {
      ...(await host.replica.snapshot({ era: 1, epoch: 1, number: 2 }, 9000)),
      parent: parent?.name ?? null,
    };
    const again = () => host.replica.send(round, parent ?? null);
    // The sender dies half way.
    const dying = again();
    dying.stream.once('data', () => dying.end());
    await expect(standby.replica.receive(round, dying)).rejects.toThrow();
    expect(standby.replica.rounds()).toHaveLength(1);
    // It says that it is another round.
    await expect(standby.replica.receive({ ...round, uuid: parent?.uuid as string }, again())).rejects.toThrow(
      /another round than it was called/,
    );
    await standby.replica.receive(round, again());
    expect(standby.replica.rounds()).toHaveLength(2);
    // The data of another mesh, on a machine that holds ours.
    const foreign = at(standby.mount, 'other-mesh');
    await foreign.open();
    await foreign.remove([round]);
    await expect(foreign.receive(round, again())).rejects.toThrow(/carry no marker of ours/);
    // A name is used once only.
    await expect(host.replica.snapshot(round.name, 9000)).rejects.toThrow(/used once only/);
    // A round that somebody reads stays.
    const mounted = join(folder, 'read');
    mkdirSync(mounted);
    execFileSync('mount', ['--bind', join(host.replica.folderOf(round), '..'), mounted]);
    try {
      await host.replica.remove([round]);
      expect(existsSync(host.replica.folderOf(round))).toBe(true);
    } finally {
      execFileSync('umount', [mounted]);
    }
  });
});

describe('the disk below an image', () => {
  let lower: string;
  beforeEach(() => {
    lower = join(folder, 'lower');
    mkdirSync(lower);
    execFileSync('truncate', ['-s', '400M', `${lower}.img`]);
    execFileSync('mkfs.ext4', ['-q', '-m', '0', `${lower}.img`]);
    execFileSync('mount', ['-o', 'loop', `${lower}.img`, lower]);
  });
  afterEach(async () => {
    for (const machine of machines.splice(0)) await machine.image.detach();
    execFileSync('umount', [lower]);
  });

  /** As somebody's downloads do. */
  const fill = (): void => {
    execFileSync('sh', ['-c', 'cat /dev/zero > "$1"/downloads 2>/dev/null; sync "$1"/downloads; true', 'sh', lower]);
    expect(free(lower)).toBeLessThan(1 << 20);
  };

  it('is filled: an allocated image loses nothing, and a round of then holds what was written', async () => {
    const host = await Machine.make('host', lower, 200 << 20);
    machines.push(host);
    await host.open();
    await host.prepare();
    fill();
    const text = Buffer.alloc(30 << 20, 'written while the disk below was full\n');
    writeFileSync(join(host.live, 'late'), text);
    const round = await host.replica.snapshot({ era: 1, epoch: 1, number: 1 }, 0);
    const copy = join(folder, 't-replica-copy.img');
    await copyAsCut(host.image.path, copy);
    await withCopy(copy, join(folder, 'copy'), async (mount) => {
      const after = at(mount);
      expect((await after.open()).map(({ uuid }) => uuid)).toEqual([round.uuid]);
      expect(readFileSync(join(after.folderOf(round), 'late')).equals(text)).toBe(true);
    });
  });

  it('is full already: a sparse image is refused with the fix, and nothing is mounted', async () => {
    const path = join(lower, 't-replica-sparse.img');
    writeFileSync(path, '');
    truncateSync(path, 200 << 20);
    execFileSync('mkfs.btrfs', ['-q', path]);
    fill();
    const image = new LoopImage(path, systemTools);
    expect(image.missing).toBeGreaterThan(100 << 20);
    await expect(image.attach(join(folder, 'sparse'), 'host')).rejects.toMatchObject({
      message: expect.stringMatching(/have no room on the disk below it/),
      hint: expect.stringMatching(/^make room there.*df -h/),
    });
    expect(image.device).toBeNull();
    expect(existsSync(join(folder, 'sparse'))).toBe(false);
    execFileSync('rm', [join(lower, 'downloads')]);
    await image.attach(join(folder, 'sparse'), 'host');
    expect(image.missing).toBe(0);
    await image.detach();
  });

  it('gets blocks back by an fstrim, and the next round takes them again', async () => {
    const host = await Machine.make('host', lower, 200 << 20);
    machines.push(host);
    expect(host.image.missing).toBe(0);
    execFileSync('fstrim', [host.mount]);
    expect(host.image.missing).toBeGreaterThan(50 << 20);
    await host.image.allocate();
    expect(host.image.missing).toBe(0);
  });
});

describe('the mount', () => {
  const sleeper = (file: string, ...args: string[]): ChildProcess => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    return child;
  };
  const speaking = async (file: string, ...args: string[]): Promise<ChildProcess> => {
    const child = sleeper(file, ...args);
    await once(child.stdout!, 'data');
    return child;
  };
  const privately = ['--mount', '--propagation', 'private', 'sh', '-c', 'echo up; exec sleep 600'];

  it('is not seen by an engine with mounts of its own, and this is known before anything is started on it', async () => {
    const hardened = await speaking('unshare', ...privately);
    const plain = await speaking('sh', '-c', 'echo up; exec sleep 600');
    const host = await make('host');
    expect(isSeenBy(plain.pid as number, host.mount)).toBe(true);
    expect(isSeenBy(hardened.pid as number, host.mount)).toBe(false);
    expect(isSeenBy(plain.pid as number, join(folder, 'host'))).toBe(false);
  });

  it('is held by such a process after an umount that said 0: said by pid, and let go when that ends', async () => {
    const host = await make('host');
    const holder = await speaking('unshare', ...privately);
    await expect(host.image.detach()).rejects.toThrow(
      new RegExp(`still held by process ${holder.pid} \\(sleep\\) at ${host.mount}`),
    );
    await ended(holder);
    await host.image.detach();
    expect(leftUnder(folder)).toEqual([]);
  });

  it('is one for an image: a second agent is refused, and so is a copy beside its original', async () => {
    const host = await make('host');
    const second = new LoopImage(host.image.path, systemTools);
    await expect(second.attach(join(folder, 'second'), 'host')).rejects.toThrow(/another agent has .* open/);
    const copy = join(folder, 't-replica-twin.img');
    await copyAsCut(host.image.path, copy);
    execFileSync('fallocate', ['--length', String(256 << 20), copy]);
    const twin = new LoopImage(copy, systemTools);
    await expect(twin.attach(join(folder, 'twin'), 'host')).rejects.toThrow(
      /a copy of .* is mounted on this machine already/,
    );
    expect(twin.device).toBeNull();
  });
});
