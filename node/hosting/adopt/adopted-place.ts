import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { hostedUrl } from '../../../scheduler/hosting/hosted-edits.ts';
import { openPlace, removePlace, roomForData } from '../place-making.ts';
import { markerFile, writeMarker } from '../place-records.ts';
import { treeOf } from '../place-tree.ts';
import { systemTools } from '../system-tools.ts';
import type { AdoptedPlace } from './adopt-ports.ts';
import type { Adoption } from './adoption-journal.ts';
import { copyUnder, fillPlace, takeConfigOver, untilUnlocked } from './fill-place.ts';

interface PlaceSources {
  home: string;
  mesh(): string;
  /** GITLAB_OMNIBUS_CONFIG of the old container: read when it is needed, as it may hold passwords. */
  environmentOf(id: string): Promise<string>;
  signal: AbortSignal;
}

const lookMs = 1000;

/** On this machine's disk. */
export function adoptedPlace({ home, mesh, environmentOf, signal }: PlaceSources): AdoptedPlace {
  const lock = join(home, 'adopting.lock');
  const drop = async ({ hosted: { place, data } }: Adoption): Promise<void> => {
    await untilUnlocked(lock, signal);
    await removePlace(place, { mesh: mesh(), data }, { deleteData: true });
  };
  return {
    drop,
    async make(adoption, epoch, say, givenUp) {
      const { hosted, container, folders, needBytes } = adoption;
      say('makes room for its data', null);
      await drop(adoption);
      const owner = { mesh: mesh(), data: hosted.data, epoch };
      const url = hostedUrl(hosted);
      const open = await openPlace(hosted.place, { ...owner, create: roomForData(hosted, needBytes) });
      const { config, data } = open.folders;
      const freeBefore = open.freeBytes();
      const total = adoption.dataBytes;
      const percent = (): number | null =>
        total === null || needBytes === 0
          ? null
          : Math.max(0, Math.min(99, Math.floor(((freeBefore - open.freeBytes()) / total) * 100)));
      // Without it nothing starts on what is there: half of a GitLab is none.
      rmSync(join(data, markerFile), { force: true });
      await systemTools.syncFolder(data);
      const telling = setInterval(() => say('copies its data', percent()), lookMs);
      say('copies its data', 0);
      try {
        await fillPlace(folders, open.folders, copyUnder(lock, AbortSignal.any([signal, givenUp])));
        await takeConfigOver(config, await environmentOf(container.id), url, systemTools);
        say('brings the copy to the disk', null);
        await systemTools.run('sync', ['-f', treeOf(hosted.place)]);
        await writeMarker(data, owner, systemTools);
        await systemTools.run('sync', ['-f', treeOf(hosted.place)]);
      } finally {
        clearInterval(telling);
        await open.close();
      }
    },
  };
}
