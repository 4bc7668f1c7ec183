import { expect, it } from 'vitest';
import { SilentRegistries } from '../../node/executors/silent-registries.ts';

it('a registry that kept a job waiting for nothing is not asked for three minutes; one that answers, or says no at once, is', () => {
  let now = 5000;
  const silent = new SilentRegistries(() => now);
  silent.silent('quick.lab', 300);
  expect(silent.words('quick.lab')).toBeNull();
  silent.silent('far.lab', 10_000);
  now += 60_000;
  expect(silent.words('far.lab')).toBe('did not answer 60 s ago, and is asked again in 2 min');
  expect(silent.words('other.lab')).toBeNull();
  silent.answered('far.lab');
  expect(silent.words('far.lab')).toBeNull();
  silent.silent('far.lab', 10_000);
  now += 180_000;
  expect(silent.words('far.lab')).toBeNull();
});

it('however many registries jobs name, few are remembered, the newest of them', () => {
  const silent = new SilentRegistries(() => 0);
  for (let n = 0; n < 100_000; n++) silent.silent(`r${n}.lab`, 10_000);
  expect(Array.from({ length: 100_000 }, (_, n) => silent.words(`r${n}.lab`)).filter(Boolean)).toHaveLength(64);
  expect(silent.words('r99999.lab')).not.toBeNull();
});
