import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { leftVersionLines } from '../../node/hosting/data-version.ts';
import { openPlace } from '../../node/hosting/place-making.ts';
import { markedEpoch, readClaim, writeClaim } from '../../node/hosting/place-records.ts';
import { treeOf } from '../../node/hosting/place-tree.ts';
import { lookAtPlace } from '../../node/hosting/regain/left-place.ts';
import { takePlace } from '../../node/hosting/regain/take-place.ts';
import { BtrfsReplica } from '../../node/hosting/replica/btrfs-replica.ts';
import { replicaTools } from '../../node/hosting/replica/replica-tools.ts';
import { RoundDisk } from '../../node/hosting/replica/round-disk.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import { keptRounds } from '../../node/hosting/vault/kept-rounds.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import { MiB, PlaceRig, sh } from './data-place-rig.ts';
import { brought, sideOf, taken } from './round-sides.ts';
import { owner, written } from './vault-rig.ts';

/** A standby's copies of a mesh that is gone become the data of a GitLab of another one; real btrfs in loop images. */
const rig = new PlaceRig();
const mine = { mesh: 'mesh-of-now', era: 0 };
const create = { bytes: 200 * MiB, reserveBytes: 0 };

/** Two rounds on a standby, in an era of before a recovery by force. */
async function copies(): Promise<string> {
  const { place } = await written(rig);
  mkdirSync(join(place.folders.data, 'gitlab-rails'));
  writeFileSync(join(place.folders.data, 'gitlab-rails/VERSION'), '19.4.1');
  const image = { kind: 'image' as const, path: join(rig.folder, 'copies') };
  const standby = await sideOf(await rig.opened(image, { ...owner, create, role: 'standby' }));
  const host = await sideOf(place);
  let parent: RoundName | null = null;
  for (const number of [1, 2]) {
    writeFileSync(join(place.folders.data, 'row'), `of round ${number}`);
    const name = { era: 2, epoch: owner.epoch, number };
    await brought(host, standby, await taken(host, name), parent);
    parent = name;
  }
  for (const one of rig.open.splice(0).reverse()) await one.close();
  return image.path;
}

it('begins with the newest round, cut anywhere it is taken by the next try, and its rounds are history of this mesh', {
  timeout: 120_000,
}, async () => {
  const path = await copies();
  const image = { kind: 'image' as const, path };
  expect(await lookAtPlace(path, mine.mesh)).toMatchObject({
    ...{ what: 'copies', mesh: owner.mesh, data: owner.data, epoch: owner.epoch, version: '19.4.1' },
    round: { name: { era: 2, epoch: owner.epoch, number: 2 } },
  });
  for (let cutAt = 1, isCut = true; isCut; cutAt++) {
    let [calls, wasCut] = [0, false];
    const step = (): void => {
      if (++calls !== cutAt) return;
      wasCut = true;
      throw new Error('its power was cut');
    };
    // From where it begins to change anything; a look mounts and unmounts by the same programs.
    let isBegun = false;
    const tools = {
      ...systemTools,
      run: async (file: string, args: readonly string[]) => {
        isBegun ||= args[1] === 'snapshot' || file === 'find';
        if (isBegun) step();
        return systemTools.run(file, args);
      },
      rename: async (from: string, to: string) => {
        if (isBegun) step();
        return systemTools.rename(from, to);
      },
    };
    await takePlace(await lookAtPlace(path, mine.mesh), mine, tools).catch(() => undefined);
    isCut = wasCut && cutAt < 14;
    if (isCut) expect(await lookAtPlace(path, mine.mesh)).toMatchObject({ epoch: owner.epoch });
  }
  await takePlace(await lookAtPlace(path, mine.mesh), mine);
  const asMine = { mesh: mine.mesh, data: owner.data };
  const place = await rig.opened(image, { ...asMine, epoch: owner.epoch + 1, create });
  expect(readFileSync(join(place.folders.data, 'row'), 'utf8')).toBe('of round 2');
  expect(readFileSync(join(place.folders.bulk, 'artifact'), 'utf8')).toBe('artifact of then');
  expect(markedEpoch(place.folders.data, asMine)).toBe(owner.epoch + 1);
  // What a power cut left of git and PostgreSQL is away.
  expect(sh(`find ${place.folders.data} -name '*.lock' -o -name postmaster.pid`)).toBe('');
  // By names before every new one of this mesh.
  const tree = treeOf(place);
  expect(keptRounds(tree, 'hot').map(({ name }) => name)).toEqual(
    [1, 2].map((number) => ({ era: 0, epoch: owner.epoch, number })),
  );
  const hot = new BtrfsReplica('hot', tree, {
    owner: asMine,
    tools: replicaTools,
    disk: new RoundDisk(tree, replicaTools),
  });
  expect(await hot.open()).toHaveLength(2);
  await hot.snapshot({ era: 0, epoch: owner.epoch + 1, number: 1 }, 3);
});

it("copies of this very mesh's GitLab, whose host is gone, become its data too: before that nothing is deployed on them", async () => {
  const path = await copies();
  const image = { kind: 'image' as const, path };
  const next = { ...owner, epoch: owner.epoch + 1, create };
  await expect(rig.opened(image, next)).rejects.toThrow(/holds copies of GitLab, and not the data/);
  // Nor would anybody be told that the data are taken up again, of an image that is not mounted either.
  for (const one of rig.open.splice(0)) await one.close();
  const asked = (): string[] => leftVersionLines(image, 'gitlab/gitlab-ce:19.4.1-ce.0').map(({ state }) => state);
  expect(asked()).toEqual(['fail']);
  const own = await lookAtPlace(path, owner.mesh);
  expect(own).toMatchObject({ what: 'copies', mesh: owner.mesh });
  await takePlace(own, { mesh: owner.mesh, era: 2 });
  expect(asked()).not.toContain('fail');
  const place = await rig.opened(image, next);
  expect(readFileSync(join(place.folders.data, 'row'), 'utf8')).toBe('of round 2');
  expect(keptRounds(treeOf(place), 'hot').map(({ name }) => name.era)).toEqual([2, 2]);
  // To a machine with copies GitLab moves while these are open as they are; uninstalled there, they are deployed again.
  for (const one of rig.open.splice(0).reverse()) await one.close();
  const claim = readClaim(path)!;
  await writeClaim(path, { ...claim, role: 'standby' }, systemTools);
  const moved = await rig.opened(image, { ...next, create: null, isUnchecked: true });
  await moved.close();
  rig.open.splice(0);
  expect(asked()).not.toContain('fail');
});

it('data that an agent has open, or a container of one that ended, are not looked at, and an image of another is not taken for them', async () => {
  const { place } = await written(rig);
  await expect(lookAtPlace(place.path, mine.mesh)).rejects.toThrow(/another agent has .* open/);
  // Its agent has ended, and a container is there still: a mount namespace of its own, as it has one.
  const container = spawn('unshare', ['-m', '--propagation', 'private', 'sh', '-c', 'echo up; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(container.stdout, 'data');
    await place.letGo();
    sh(`umount ${treeOf(place)}`);
    await expect(lookAtPlace(place.path, mine.mesh)).rejects.toThrow(/held by process \d+ \(sleep\)/);
  } finally {
    container.kill('SIGKILL');
    await once(container, 'exit');
  }
  rig.open.splice(0);
  expect(await lookAtPlace(place.path, mine.mesh)).toMatchObject({ what: 'host', data: owner.data });
  await expect(
    openPlace({ kind: 'image', path: place.path }, { mesh: mine.mesh, data: 'x', epoch: 1, create: null }),
  ).rejects.toThrow('holds the data of another mesh');
});
