import { expect, it } from 'vitest';
import { SignOfLife } from '../../node/hosting/vault/sign-of-life.ts';

const life = (): SignOfLife => new SignOfLife();

it('progress that says the same again but for the time is no sign of life', () => {
  const one = life();
  const line = (elapsed: number, done: number): string =>
    `{"message_type":"status","seconds_elapsed":${elapsed},"seconds_remaining":${9 - elapsed},"percent_done":0.4,"total_files":3,"files_done":1,"total_bytes":900,"bytes_done":${done},"current_files":["/live/a"]}`;
  expect([line(1, 360), line(2, 360), line(3, 360), line(4, 400), line(5, 400)].map((said) => one.isIn(said))).toEqual([
    true,
    false,
    false,
    true,
    false,
  ]);
  const check = ['[0:01] 3.00%  3 / 100 packs', '[0:31] 3.00%  3 / 100 packs', '[1:00:31] 4.00%  4 / 100 packs'];
  expect(check.map((said) => one.isIn(said))).toEqual([true, false, true]);
});

it('what reads goes on, also where it says nothing; what only wakes itself does not', () => {
  const one = life();
  const MiB = 2 ** 20;
  expect(
    [5 * MiB, 5 * MiB + 4000, 5 * MiB + 8000, 6 * MiB, 6 * MiB + 1, null, 9 * MiB].map((read) => one.isRead(read)),
  ).toEqual([true, false, false, true, false, false, true]);
});
