import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { treeOf } from '../../node/hosting/place-tree.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import type { Restic } from '../../node/hosting/vault/restic.ts';
import { type About, dropFolder, takeSnapshot } from '../../node/hosting/vault/vault-tree.ts';
import { MiB, type PlaceRig, wish } from './data-place-rig.ts';

/** Whose backups the tests make. */
export const about: About = {
  form: 1,
  mesh: 'mesh-1',
  meshName: 'home',
  data: 'data-1',
  epoch: 3,
  version: '19.4.1',
  image: 'i:1',
  at: 5,
};
export const owner = { mesh: 'mesh-1', data: 'data-1', epoch: 3 };
const roomy = { ...wish, create: { bytes: 320 * MiB, reserveBytes: 0 } };

/** GitLab's data in small, with what a running one leaves. */
export async function written(
  rig: PlaceRig,
  data = owner.data,
  image = rig.image(),
): Promise<{ place: DataPlace; tree: string }> {
  const place = await rig.opened(image, { ...roomy, data });
  const at = (path: string): string => join(place.folders.data, path);
  for (const folder of ['postgresql/data', 'git-data/repositories/a.git']) mkdirSync(at(folder), { recursive: true });
  writeFileSync(join(place.folders.config, 'gitlab-secrets.json'), '{}');
  for (const [path, text] of Object.entries({
    'postgresql/data/PG_VERSION': '15',
    'postgresql/data/postmaster.pid': '77',
    'git-data/repositories/a.git/config.lock': '',
    'git-data/repositories/a.git/HEAD': 'ref: refs/heads/then',
  }))
    writeFileSync(at(path), text);
  writeFileSync(join(place.folders.bulk, 'artifact'), 'artifact of then');
  return { place, tree: treeOf(place) };
}

const { signal } = new AbortController();
export const backup = (restic: Restic, folder: string, tags: string[], parent: string | null = null): Promise<string> =>
  restic.backup(folder, { tags, parent, onPercent: () => undefined, signal });

/** Of a snapshot of that tree, as the vault makes one; its id. */
export const backedUp = async (
  restic: Restic,
  tree: string,
  tags = ['data=data-1'],
  parent: string | null = null,
): Promise<string> => {
  const folder = await takeSnapshot(tree, about, systemTools);
  try {
    return await backup(restic, folder, tags, parent);
  } finally {
    await dropFolder(folder, systemTools);
  }
};
