import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DataPlace, PlaceWish } from '../../node/hosting/data-place.ts';
import { HostMounts } from '../../node/hosting/host-mounts.ts';
import { mountsOf } from '../../node/hosting/mount-table.ts';
import { openPlace, removePlace } from '../../node/hosting/place-making.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import { install } from '../bench/debian.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';
import { ended } from '../hosting/stand/writers.ts';

/** The folder of a hosted GitLab's data on real file systems, and what people and power cuts do to it. */
const MiB = 1 << 20;
const create = { bytes: 160 * MiB, reserveBytes: 0 };
const wish: PlaceWish = { mesh: 'mesh-1', data: 'data-1', epoch: 3, create };
const later: PlaceWish = { ...wish, create: null };

let folder: string;
let open: DataPlace[] = [];
const children: ChildProcess[] = [];

beforeAll(() => install({ ...hostingPrograms, busybox: 'busybox-static', 'systemd-mount': 'systemd' }), 300_000);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 't-hplace-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) await ended(child);
  for (const place of open.splice(0).reverse()) await place.close().catch(() => {});
  tidy(folder);
});

/** Whatever a test did: nothing of ours stays mounted, attached or immutable. */
function tidy(under: string): void {
  for (const { point } of mountsOf('self')
    .filter((one) => one.point.startsWith(under))
    .reverse())
    execFileSync('umount', [point]);
  const attached = execFileSync('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], {
    encoding: 'utf8',
  });
  for (const line of attached.split('\n').filter((one) => one.includes(under)))
    execFileSync('losetup', ['--detach', line.split(/\s+/)[0] as string]);
  sh(`chattr -R -f -i ${under} || true`);
  rmSync(under, { recursive: true, force: true });
}

const image = () => ({ kind: 'image' as const, path: join(folder, 'gitlab') });
async function opened(wanted = image(), asked = wish, mounts?: HostMounts): Promise<DataPlace> {
  const place = await openPlace(wanted, asked, systemTools, mounts);
  open.push(place);
  return place;
}
/** As an agent that was killed: what it had mounted stays. */
async function killed(place: DataPlace): Promise<void> {
  await place.letGo();
  open = open.filter((one) => one !== place);
}
const refusal = (message: RegExp, hint: RegExp) => ({
  code: 'data-place',
  message: expect.stringMatching(message),
  hint: expect.stringMatching(hint),
});
const sh = (text: string): string => execFileSync('sh', ['-c', text], { encoding: 'utf8' });

describe('an image', () => {
  it('is allocated, mounted for all to see, and taken over by the next agent with what GitLab wrote', async () => {
    const first = await opened();
    const file = join(folder, 'gitlab', 'gitlab.img');
    expect(statSync(file).blocks * 512).toBeGreaterThanOrEqual(160 * MiB);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const point = join(folder, 'gitlab', 'mounted');
    const seen = mountsOf(1).find((one) => one.point === point);
    expect(seen?.type).toBe('btrfs');
    const options = sh(`findmnt -no OPTIONS ${point}`);
    for (const option of ['noatime', 'flushoncommit', 'subvolid=5']) expect(options).toContain(option);
    expect(options).not.toContain('discard');
    expect(sh(`btrfs subvolume get-default ${point}`)).toMatch(/path live$/m);
    expect(() => sh(`btrfs subvolume delete ${point}/live 2>/dev/null`)).toThrow();
    writeFileSync(join(first.folders.data, 'of GitLab'), 'kept');
    await killed(first);
    const second = await opened(image(), later);
    expect(second.notices).toEqual([]);
    expect(readFileSync(join(second.folders.data, 'of GitLab'), 'utf8')).toBe('kept');
    await second.close();
    expect(sh(`losetup --associated ${file}`)).toBe('');
    // The empty mount point takes nothing, so nobody begins a new GitLab in it.
    expect(() => writeFileSync(join(point, 'x'), '')).toThrow(/EPERM/);
    const third = await opened(image(), later);
    expect(readFileSync(join(third.folders.data, 'of GitLab'), 'utf8')).toBe('kept');
  });

  it('made by an agent that ended half way is made to its end by the next one', async () => {
    for (const step of ['mkfs.btrfs', 'losetup', 'set-default', 'marker', 'sync -f']) {
      const dying = {
        ...systemTools,
        run: (program: string, args: readonly string[]) =>
          `${program} ${args.join(' ')}`.includes(step)
            ? Promise.reject(new Error('killed'))
            : systemTools.run(program, args),
        write: (path: string, text: string) =>
          step === 'marker' && path.includes('autogit-data')
            ? Promise.reject(new Error('killed'))
            : systemTools.write(path, text),
      };
      await expect(openPlace(image(), wish, dying)).rejects.toThrow(/killed/);
      // GitLab never stood there: nobody serves what is half made.
      await expect(openPlace(image(), later)).rejects.toMatchObject(refusal(/never made to its end/, /deploy again/));
    }
    const place = await opened();
    expect(existsSync(join(folder, 'gitlab', 'gitlab.img.new'))).toBe(false);
    await place.check();
  });

  it('is not what it was: each is a refusal with what helps, and nothing is mounted', async () => {
    const file = join(folder, 'gitlab', 'gitlab.img');
    const place = await opened();
    await place.close();
    const bytes = statSync(file).size;
    execFileSync('cp', [file, `${file}.good`]);
    const good = (): void => void execFileSync('cp', [`${file}.good`, file]);
    const refused = async (message: RegExp, hint: RegExp): Promise<void> => {
      await expect(openPlace(image(), later)).rejects.toMatchObject(refusal(message, hint));
      expect(sh(`losetup --associated ${file}`)).toBe('');
      good();
    };
    truncateSync(file, bytes / 2);
    await refused(/was cut off: 83886080 of its 167772160 bytes/, /whole copy.*truncate -s 167772160/);
    truncateSync(file, 2 * bytes);
    await refused(/was made longer by somebody/, /truncate -s 167772160/);
    execFileSync('dd', ['if=/dev/zero', `of=${file}`, 'bs=1M', 'count=1', 'conv=notrunc', 'status=none']);
    await refused(/is damaged: it does not begin as a btrfs/, /btrfs rescue super-recover/);
    // The trees behind the first super block, which itself is whole.
    execFileSync('dd', ['if=/dev/urandom', `of=${file}`, 'bs=1M', 'seek=1', 'count=62', 'conv=notrunc', 'status=none']);
    await refused(/cannot be mounted/, /btrfs check --readonly/);
    rmSync(file);
    execFileSync('truncate', ['-s', '160M', file]);
    execFileSync('mkfs.btrfs', ['-q', file]);
    await refused(/is another image than the one that was made here/, /btrfs filesystem show/);
    rmSync(file);
    await refused(/gitlab.img is gone/, /findmnt -T/);
    await opened(image(), later);
  });

  it('left mounted by a power cut is said, and so is a mount that went read-only, or away, under a running agent', async () => {
    const first = await opened();
    const point = join(folder, 'gitlab', 'mounted');
    await killed(first);
    sh(`umount ${point}; losetup --detach $(losetup -j ${folder}/gitlab/gitlab.img -O NAME -n)`);
    const second = await opened(image(), later);
    expect(second.notices.join()).toMatch(/was not unmounted when this machine went down/);
    execFileSync('mount', ['-o', 'remount,ro', point]);
    await expect(second.check()).rejects.toMatchObject(refusal(/is read-only/, /dmesg/));
    execFileSync('mount', ['-o', 'remount,rw', point]);
    await second.check();
    execFileSync('umount', [point]);
    await expect(second.check()).rejects.toMatchObject(refusal(/is not mounted/, /autogit-node gitlab/));
  });

  it('full inside refuses the start; it grows ahead of need, and stops at the reserve of the owner', async () => {
    const place = await opened();
    sh(`cat /dev/zero > ${place.folders.data}/much 2>/dev/null; sync -f ${place.folders.data}; true`);
    await expect(place.check()).rejects.toMatchObject(refusal(/is full/, /df -h/));
    expect(await place.tend()).toEqual([]);
    expect(statSync(join(folder, 'gitlab', 'gitlab.img')).size).toBe(160 * MiB + 2 ** 30);
    await place.check();
    await killed(place);
    const claim = join(folder, 'gitlab', 'autogit-place.json');
    writeFileSync(claim, JSON.stringify({ ...JSON.parse(readFileSync(claim, 'utf8')), reserveBytes: 2 ** 50 }));
    const again = await opened(image(), later);
    sh(`head -c 700M /dev/zero > ${again.folders.data}/more; sync -f ${again.folders.data}`);
    expect((await again.tend()).join()).toMatch(/cannot grow by 1 GiB: .* stay for the machine's owner; make room/);
  }, 60_000);
});

describe('whose data', () => {
  it("another's are refused, and only ours of this epoch are served", async () => {
    const path = join(folder, 'gitlab');
    mkdirSync(path);
    writeFileSync(join(path, 'holiday.jpg'), 'of the owner');
    const plain = { kind: 'folder' as const, path };
    await expect(openPlace(plain, wish)).rejects.toMatchObject(
      refusal(/holds files that are not the mesh's/, /--data DIR/),
    );
    await expect(removePlace(plain, wish, { deleteData: true })).rejects.toMatchObject(
      refusal(/nothing is deleted/, /ls -la/),
    );
    expect(readFileSync(join(path, 'holiday.jpg'), 'utf8')).toBe('of the owner');
    rmSync(join(path, 'holiday.jpg'));

    const place = await openPlace(plain, wish);
    for (const [other, message] of [
      [{ ...later, mesh: 'mesh-2' }, /the data of another mesh/],
      [{ ...later, data: 'data-2' }, /the data of another GitLab of this mesh/],
      [{ ...later, epoch: 4 }, /the data of epoch 3, and the mesh serves epoch 4/],
      [{ ...later, epoch: 2 }, /the data of epoch 3, and the mesh serves epoch 2/],
    ] as const)
      await expect(openPlace(plain, other)).rejects.toMatchObject(refusal(message, /: (ls|cat) /));
    const marker = join(place.folders.data, 'autogit-data.json');
    const text = readFileSync(marker, 'utf8');
    writeFileSync(marker, text.slice(0, 20));
    await expect(place.check()).rejects.toMatchObject(refusal(/marker in .* is damaged/, /ls -la/));
    rmSync(marker);
    await expect(place.check()).rejects.toMatchObject(refusal(/is empty: GitLab's data are not there/, /findmnt -T/));
    writeFileSync(join(place.folders.data, 'PG_VERSION'), '15');
    await expect(place.check()).rejects.toMatchObject(refusal(/carries no marker/, /ls -la/));
    writeFileSync(marker, text);
    await place.check();
    // GitLab stood there: what is gone is not made anew.
    rmSync(path, { recursive: true });
    await expect(openPlace(plain, later)).rejects.toMatchObject(refusal(/GitLab's data are not at/, /findmnt -T/));
    expect(existsSync(path)).toBe(false);
  });

  it('left by an uninstalled GitLab are taken up by a later epoch, while that has not stood, and never by an earlier one', async () => {
    const plain = { kind: 'folder' as const, path: join(folder, 'gitlab') };
    const first = await openPlace(plain, wish);
    writeFileSync(join(first.folders.data, 'of GitLab'), 'kept');
    const again = await openPlace(plain, { ...wish, epoch: 5 });
    expect(readFileSync(join(again.folders.data, 'of GitLab'), 'utf8')).toBe('kept');
    await openPlace(plain, { ...later, epoch: 5 });
    await expect(openPlace(plain, wish)).rejects.toMatchObject(
      refusal(/data of epoch 5, and the mesh serves epoch 3/, /ls/),
    );
    await expect(openPlace(plain, { ...wish, data: 'data-2', epoch: 9 })).rejects.toThrow(/another GitLab/);
    await expect(first.check()).rejects.toThrow(/epoch 5/);
  });

  it('is deleted only when nobody holds it, and whole: the next deploy finds an empty place', async () => {
    for (const kind of ['image', 'folder'] as const) {
      const wanted = { kind, path: join(folder, kind) };
      const place = await opened(wanted as ReturnType<typeof image>);
      writeFileSync(join(place.folders.bulk, 'artifact'), 'x');
      await place.close();
      await expect(removePlace(wanted, { mesh: 'mesh-1', data: 'other' }, { deleteData: true })).rejects.toThrow(
        /another GitLab/,
      );
      if (kind === 'folder') {
        mkdirSync(join(folder, 'bound'));
        execFileSync('mount', ['--bind', place.folders.data, join(folder, 'bound')]);
        await expect(removePlace(wanted, wish, { deleteData: true })).rejects.toMatchObject(
          refusal(/still held by process/, /docker ps/),
        );
        execFileSync('umount', [join(folder, 'bound')]);
      }
      expect(existsSync(wanted.path)).toBe(true);
      await removePlace(wanted, wish, { deleteData: true });
      expect(existsSync(wanted.path)).toBe(false);
      await removePlace(wanted, wish, { deleteData: true });
    }
  });

  it("on the owner's btrfs they are subvolumes, whose default stays the owner's", async () => {
    const disk = join(folder, 'disk');
    execFileSync('truncate', ['-s', '256M', `${disk}.img`]);
    execFileSync('mkfs.btrfs', ['-q', `${disk}.img`]);
    mkdirSync(disk);
    execFileSync('mount', ['-o', 'loop', `${disk}.img`, disk]);
    // Through a link, as /home often is one.
    symlinkSync(disk, join(folder, 'link'));
    const wanted = { kind: 'subvolume' as const, path: join(folder, 'link', 'gitlab') };
    const place = await openPlace(wanted, wish);
    expect(place.path).toBe(join(disk, 'gitlab'));
    expect(sh(`btrfs subvolume list ${disk}`).match(/gitlab\/(live|bulk|logs)$/gm)).toHaveLength(3);
    expect(sh(`btrfs subvolume get-default ${disk}`)).toMatch(/FS_TREE/);
    await removePlace(wanted, wish, { deleteData: true });
    expect(sh(`btrfs subvolume list ${disk}`)).toBe('');
    await expect(openPlace(wanted, { ...wish, create: { bytes: 2 ** 40, reserveBytes: 0 } })).rejects.toMatchObject(
      refusal(/has .* free: GitLab needs 1 TiB/, /df -h/),
    );
  });
});

describe('mount namespaces', () => {
  const childOf = async (parent: number): Promise<number> => {
    for (;;) {
      const found = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim();
      if (found !== '') return Number(found);
      await sleep(20);
    }
  };
  const speaking = async (...args: string[]): Promise<number> => {
    const child = spawn('unshare', [...args, 'sh', '-c', 'echo up; exec sleep 600'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    await once(child.stdout!, 'data');
    return child.pid as number;
  };

  it("is mounted where the machine's first process sees it, or not at all", async () => {
    // In place of a machine whose mounts do not come to the agent: its service is hardened.
    const first = await speaking('--mount', '--propagation', 'private');
    await expect(
      openPlace(image(), wish, systemTools, new HostMounts(systemTools, { pid: first, hasSystemd: false })),
    ).rejects.toMatchObject(refusal(/the agent has mounts of its own/, /systemctl cat autogit-node/));
    expect(mountsOf(first).filter(({ point }) => point.startsWith(folder))).toEqual([]);
    expect(sh(`losetup --associated ${folder}/gitlab/gitlab.img`)).toBe('');
  });

  it("is a unit of its own where systemd runs, which the agent's end does not touch", async () => {
    // A real one, with nothing to do, in namespaces of its own; what is mounted in our folder is seen on both sides.
    const script = `
      mount -t tmpfs t-hplace /run; cp -a /etc /run/etc; mount --bind /run/etc /etc
      rm -rf /etc/systemd/system; mkdir -p /etc/systemd/system
      printf '[Unit]\\nDefaultDependencies=no\\n' > /etc/systemd/system/t-hplace.target
      mount -t proc proc /proc; mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys
      mount -t tmpfs t-hplace /sys/fs/cgroup; mkdir /sys/fs/cgroup/systemd
      mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
      exec env -i container=t-hplace PATH="$PATH" /lib/systemd/systemd --system --unit=t-hplace.target --show-status=no`;
    execFileSync('mount', ['--bind', folder, folder]);
    execFileSync('mount', ['--make-shared', folder]);
    const apart = [
      '--pid',
      '--fork',
      '--kill-child',
      '--mount',
      '--uts',
      '--ipc',
      '--cgroup',
      '--propagation',
      'unchanged',
    ];
    const machine = spawn('unshare', [...apart, 'sh', '-ec', script], { stdio: 'ignore' });
    children.push(machine);
    const pid = await childOf(machine.pid as number);
    const inside = (...line: string[]): string =>
      execFileSync('nsenter', ['-t', String(pid), '-m', '-p', '--', ...line], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
    for (let tries = 0; ; tries++)
      try {
        inside('systemctl', 'show', '--property=Version');
        break;
      } catch (error) {
        if (tries === 100) throw error;
        await sleep(100);
      }
    const tools = {
      ...systemTools,
      run: (program: string, args: readonly string[]) =>
        program === 'systemd-mount'
          ? systemTools.run('nsenter', ['-t', String(pid), '-m', '-p', '--', program, ...args])
          : systemTools.run(program, args),
    };
    const mounts = new HostMounts(tools, { pid, hasSystemd: true });
    const place = await openPlace(image(), wish, tools, mounts);
    const point = join(place.path, 'mounted');
    const unit = inside('systemd-escape', '--path', '--suffix=mount', point).trim();
    const shown = inside('systemctl', 'show', '--property=ActiveState,Before,Description', unit);
    expect(shown).toMatch(/^ActiveState=active$/m);
    expect(shown).toMatch(/^Description=Data of the GitLab that autogit-node hosts$/m);
    expect(shown).toMatch(/^Before=.*\bdocker\.service\b/m);
    await place.letGo();
    const next = await openPlace(image(), later, tools, mounts);
    expect(next.notices).toEqual([]);
    await next.close();
    expect(inside('systemctl', 'show', '--property=ActiveState', unit)).toContain('inactive');
    expect(sh(`losetup --associated ${join(place.path, 'gitlab.img')}`)).toBe('');
  }, 60_000);

  it('a container that has something else than the data is known before the gate opens', async () => {
    const place = await opened();
    const { config, data, bulk, logs } = place.folders;
    const inside = join(folder, 'container');
    const at = (path: string): string => join(inside, path);
    for (const path of ['etc/gitlab', 'var/opt/gitlab', 'var/log/gitlab']) mkdirSync(at(path), { recursive: true });
    mkdirSync(join(data, 'gitlab-rails', 'shared'), { recursive: true });
    const container = async (mounts: string): Promise<number> => {
      const child = spawn(
        'unshare',
        ['--mount', 'sh', '-c', `${mounts}; echo up; exec chroot ${inside} /busybox sleep 600`],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      children.push(child);
      await once(child.stdout!, 'data');
      // Its root is another one a moment after it spoke.
      for (let tries = 0; tries < 100 && !existsSync(`/proc/${child.pid}/root/busybox`); tries++) await sleep(20);
      return child.pid as number;
    };
    execFileSync('cp', [sh('command -v busybox').trim(), join(inside, 'busybox')]);
    chmodSync(join(inside, 'busybox'), 0o755);
    const bind = (from: string, to: string): string => `mount --bind ${from} ${at(to)}`;
    const most = [bind(config, 'etc/gitlab'), bind(logs, 'var/log/gitlab')];
    const shared = bind(bulk, 'var/opt/gitlab/gitlab-rails/shared');
    place.checkInside(await container([...most, bind(data, 'var/opt/gitlab'), shared].join(';')));
    const without = await container(most.join(';'));
    expect(() => place.checkInside(without)).toThrow(/something else at \/var\/opt\/gitlab than/);
    // While a container has it, nothing is unmounted under it.
    await expect(place.close()).rejects.toMatchObject(refusal(/still held by process/, /end it/));
    expect(existsSync(join(data, 'autogit-data.json'))).toBe(true);
  });
});

afterAll(() => {
  expect(mountsOf('self').filter(({ point }) => point.includes('/t-hplace-'))).toEqual([]);
});
