import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openPlace } from '../../node/hosting/place-making.ts';
import { markedEpoch } from '../../node/hosting/place-records.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import { keepData, swapData } from '../../node/hosting/vault/data-swap.ts';
import { dropFolder, replacedEpochs } from '../../node/hosting/vault/vault-tree.ts';
import { cutAfter, later, PlaceRig, sh } from './data-place-rig.ts';
import { about, owner, written } from './vault-rig.ts';

const rig = new PlaceRig();

describe('the swap of a restore', () => {
  it('cut between any two steps is done to its end, or undone, by whoever comes next', {
    timeout: 60_000,
  }, async () => {
    const { place: first, tree } = await written(rig);
    let place = first;
    const snapshot = (from: string, to: string): string =>
      sh(`mkdir -p ${to}; for one in live bulk; do btrfs subvolume snapshot ${from}/$one ${to}/$one; done`);
    snapshot(tree, join(tree, 'then'));
    writeFileSync(join(place.folders.bulk, 'artifact'), 'artifact of now');
    const artifact = (folder: string): string => readFileSync(join(folder, 'bulk/artifact'), 'utf8');
    let epoch = 3;
    for (let steps = 1; steps < 16; steps += 1) {
      const source = join(tree, 'restoring');
      snapshot(join(tree, 'then'), source);
      const swap = { place, owner: { ...owner, epoch }, next: epoch + 1, ledger: null, source, about };
      const isCut = await swapData(swap, cutAfter(steps)).then(
        () => false,
        () => true,
      );
      // As after a restart: opened as it is, whatever is there.
      await place.close();
      const again = await openPlace(rig.image(), { ...later, epoch, isUnchecked: true });
      if (isCut && steps % 2 === 1) await keepData({ ...swap, place: again }, systemTools);
      else await swapData({ ...swap, place: again }, systemTools);
      epoch += 1;
      expect(markedEpoch(join(tree, 'live/data'), owner)).toBe(epoch);
      const isSwapped = steps % 2 === 0 || !isCut;
      expect([steps, artifact(tree)]).toEqual([steps, isSwapped ? 'artifact of then' : 'artifact of now']);
      expect([steps, replacedEpochs(tree)]).toEqual([steps, isSwapped ? [epoch - 1] : []]);
      const old = join(tree, `replaced-${epoch - 1}`);
      if (isSwapped) expect(artifact(old)).toBe('artifact of now');
      await dropFolder(old, systemTools);
      writeFileSync(join(tree, 'bulk/artifact'), 'artifact of now');
      await dropFolder(join(tree, 'restoring'), systemTools);
      await again.close();
      const served = await openPlace(rig.image(), { ...later, epoch });
      rig.open = [served];
      place = served;
      if (!isCut) break;
    }
  });
});
