import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { openPlace } from '../../node/hosting/place-making.ts';

const folder = mkdtempSync(join(tmpdir(), 't-open-place-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a place whose data are made in a moment, as a takeover does, has room, and nothing to warn of', async () => {
  const path = join(folder, 'gitlab');
  const owner = { mesh: 'm', data: 'd', epoch: 1 };
  const place = await openPlace({ kind: 'folder', path }, { ...owner, create: { bytes: 0, reserveBytes: 0 } });
  const before = place.freeBytes();
  rmSync(join(path, 'live'), { recursive: true });
  expect(await place.tend()).toEqual([]);
  expect(place.freeBytes()).toBeGreaterThan(before / 2);
});
