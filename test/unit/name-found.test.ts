import { expect, it } from 'vitest';
import { NameFound } from '../../node/hosting/address/name-found.ts';

it('a name that programs do not find is told after two looks in a row, and no more once they do', async () => {
  let [now, isFound, looks] = [0, false, 0];
  const find = async (): Promise<void> => {
    looks += 1;
    if (!isFound) throw new Error('ENOTFOUND');
  };
  const found = new NameFound(find, () => now);
  const after = async (ms: number, name = 'home.local'): Promise<boolean> => {
    now += ms;
    found.isMissing(name);
    await new Promise((done) => setImmediate(done));
    return found.isMissing(name);
  };
  // GitLab may just have moved.
  expect([await after(0), await after(20_000), looks]).toEqual([false, false, 1]);
  expect([await after(10_000), looks]).toEqual([true, 2]);
  isFound = true;
  expect([await after(500_000), looks]).toEqual([true, 2]);
  expect([await after(100_000), looks]).toEqual([false, 3]);
  isFound = false;
  expect([await after(600_000), looks]).toEqual([false, 4]);
  // Another name is another question.
  expect([await after(0, 'attic.local'), looks]).toEqual([false, 5]);
});
