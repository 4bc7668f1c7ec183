import { expect, it } from 'vitest';
import { VaultWork } from '../../node/hosting/vault/vault-work.ts';

const made = () => {
  const warned: string[] = [];
  const work = new VaultWork({ bootMs: () => 0 }, { warn: (sentence: unknown) => void warned.push(String(sentence)) });
  return { work, warned };
};
/** Goes on until it is to end, and takes a moment for that. */
const hangs = (signal: AbortSignal): Promise<void> =>
  new Promise((_, reject) =>
    signal.addEventListener('abort', () => setTimeout(() => reject(new Error('restic was ended')), 20)),
  );

it('what is more urgent ends a backup that may take hours, which is no fault of it', async () => {
  const { work, warned } = made();
  const told: string[] = [];
  work.begin('backup', 'copies', async (say, signal) => {
    await hangs(signal).finally(() => say('copies to /mnt/disk', 0.4));
  });
  work.instead('restore', 'looks at the backup', async (say) => {
    told.push(work.doing?.phase ?? '');
    say('restores the backup beside what serves');
    await new Promise((done) => setTimeout(done, 20));
    told.push(`${work.doing?.what}: ${work.doing?.phase}`);
  });
  // Whoever asks now finds a restore, and nothing else begins.
  expect([work.doing, work.isBusy, work.isFree]).toEqual([
    { what: 'restore', phase: 'ends the backup that is under way', percent: null },
    true,
    false,
  ]);
  await expect.poll(() => work.isBusy).toBe(false);
  expect(told).toEqual(['looks at the backup', 'restore: restores the backup beside what serves']);
  expect([work.doing, work.problem, warned, work.isFree]).toEqual([null, null, [], true]);
});

it('an agent that ends waits for the backup to end, and begins nothing instead of it', async () => {
  const { work } = made();
  let hasBegun = false;
  work.begin('backup', 'copies', (_say, signal) => hangs(signal));
  work.instead('restore', 'looks at the backup', async () => {
    hasBegun = true;
  });
  await work.stop();
  expect([hasBegun, work.isBusy]).toEqual([false, false]);
});
