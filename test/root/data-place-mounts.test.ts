import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { HostMounts } from '../../node/hosting/host-mounts.ts';
import { mountsOf } from '../../node/hosting/mount-table.ts';
import { openPlace } from '../../node/hosting/place-making.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import { later, PlaceRig, refusal, sh, wish } from './data-place-rig.ts';

/** Who sees the data of a hosted GitLab: the machine, its systemd, the agent, a container. */
const rig = new PlaceRig();
let folder: string;
beforeEach(() => {
  folder = rig.folder;
});
const { children, image, opened } = rig;

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
