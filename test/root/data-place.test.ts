import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { beforeEach, describe, expect, it } from 'vitest';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { leftVersionLines } from '../../node/hosting/data-version.ts';
import { mountsOf } from '../../node/hosting/mount-table.ts';
import { openPlace, removePlace } from '../../node/hosting/place-making.ts';
import { readClaim } from '../../node/hosting/place-records.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import { later, MiB, PlaceRig, refusal, sh, wish } from './data-place-rig.ts';

/** The folder of a hosted GitLab's data on real file systems, and what people and power cuts do to it. */
const rig = new PlaceRig();
let folder: string;
beforeEach(() => {
  folder = rig.folder;
});
const { image, opened } = rig;
/** As an agent that was killed: what it had mounted stays. */
async function killed(place: DataPlace): Promise<void> {
  await place.letGo();
  rig.open = rig.open.filter((one) => one !== place);
}

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
    mkdirSync(join(second.folders.data, 'gitlab-rails'));
    writeFileSync(join(second.folders.data, 'gitlab-rails/VERSION'), '19.3.0\n');
    const path = join(folder, 'gitlab');
    const asked = (name: string) => leftVersionLines({ kind: 'image', path }, name).map(({ state }) => state);
    const [older, same] = ['gitlab/gitlab-ce:19.2.4-ce.0', 'gitlab/gitlab-ce:19.3.0-ce.0'];
    expect([asked(older), asked(same)]).toEqual([['fail'], ['ok']]);
    // Somebody else's mounts, as of a service that began meanwhile, hold the image still: they say it from then on.
    const holder = spawn('unshare', ['--mount', 'sh', '-c', 'echo held; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(holder.stdout as Readable, 'data');
    await expect(second.close(same)).rejects.toThrow(/still held by process/);
    expect([asked(older), asked(same)]).toEqual([['fail'], ['ok']]);
    const ended = once(holder, 'exit');
    holder.kill('SIGKILL');
    await ended;
    await second.close(same);
    // Closed, they say it all the same, and by which image they ran.
    expect([asked(older), asked(same)]).toEqual([['fail'], ['ok']]);
    expect(readClaim(path)).toMatchObject({ version: '19.3.0', image: same });
    expect(sh(`losetup --associated ${file}`)).toBe('');
    // The empty mount point takes nothing, so nobody begins a new GitLab in it.
    expect(() => writeFileSync(join(point, 'x'), '')).toThrow(/EPERM/);
    const third = await opened(image(), later);
    expect(readFileSync(join(third.folders.data, 'of GitLab'), 'utf8')).toBe('kept');
    // What a newer one makes of them meanwhile is not what was noted.
    expect(readClaim(path)).not.toHaveProperty('version');
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
