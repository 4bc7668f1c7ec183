import { mountsOf } from '../mount-table.ts';
import type { SystemTools } from '../system-tools.ts';

/**
 * Why these data are not all in a round: a snapshot ends at each subvolume within it, and at each mount over it. All that takes
 * one says 0, and the copy has an empty folder there. Null where there is none.
 */
export async function whyUnprotected(folders: readonly string[], tools: SystemTools): Promise<string | null> {
  for (const folder of folders) {
    const mount = mountsOf('self').find(({ point }) => point.startsWith(`${folder}/`));
    if (mount) return `${mount.point} is a mount of its own (${mount.source}) and in no copy: umount ${mount.point}`;
    const [nested] = (await tools.run('btrfs', ['subvolume', 'list', '-o', folder])).split('\n');
    const path = /\bpath (.+)$/.exec(nested ?? '')?.[1];
    if (path !== undefined)
      return `${path} is a subvolume of its own within ${folder} and in no copy: make a plain folder of it`;
  }
  return null;
}
