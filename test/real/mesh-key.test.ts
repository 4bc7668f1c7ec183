import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadIdentity } from '../../node/secrets/identity.ts';
import { keepMeshKey, readMeshKey } from '../../node/secrets/mesh-key.ts';
import { newMeshKey } from '../../node/secrets/seal.ts';
import { openStore } from '../../node/store/level-store.ts';

const folder = mkdtempSync(join(tmpdir(), 'autogit-mesh-key-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const seedOf = async (name: string): Promise<Uint8Array> => {
  const home = join(folder, name);
  mkdirSync(home, { recursive: true });
  return (await loadIdentity(home)).privateKey.raw;
};
/** All that the store has on disk, as one text. */
const onDisk = (store: string): string =>
  readdirSync(join(store, 'level'))
    .map((name) => readFileSync(join(store, 'level', name), 'latin1'))
    .join('');

describe('the mesh key in the store', () => {
  it('is sealed by the identity, and opens with that one only', async () => {
    const path = join(folder, 'sealed');
    const [mine, other] = [await seedOf('mine'), await seedOf('other')];
    const key = newMeshKey();
    const store = await openStore(path);
    await keepMeshKey(store, mine, key);
    expect(await readMeshKey(store, mine)).toBe(key);
    await expect(readMeshKey(store, other)).rejects.toMatchObject({ code: 'store-corrupt' });
    await store.close();
    expect(onDisk(path)).not.toContain(key);
  });

  it('of an earlier version leaves the clear for good, and stays what it is', async () => {
    const path = join(folder, 'before');
    const seed = await seedOf('mine');
    const key = newMeshKey();
    let store = await openStore(path);
    await store.put('mesh-key', key);
    await store.close();
    expect(onDisk(path)).toContain(key);
    store = await openStore(path);
    expect(await readMeshKey(store, seed)).toBe(key);
    await store.put('port', '7117');
    expect(onDisk(path), 'while it is open').not.toContain(key);
    await store.close();
    store = await openStore(path);
    expect([await readMeshKey(store, seed), await store.get('port')]).toEqual([key, '7117']);
    await store.close();
    expect(onDisk(path)).not.toContain(key);
  });

  it('that is missing is said', async () => {
    const store = await openStore(join(folder, 'none'));
    await expect(readMeshKey(store, await seedOf('mine'))).rejects.toThrow(/not the key of its mesh/);
    await store.close();
  });
});
