import { afterEach, expect, it } from 'vitest';
import { endParties, ledgerOf, type Party, party, pause, reportOf, until } from './network-party.ts';

afterEach(endParties);

/** Whose reports it has heard, of this number or a later one. */
const heard = (one: Party, seq: number): Set<string> =>
  new Set(one.reports.filter(({ report }) => report.seq >= seq).map(({ from }) => from));

it('in a crowd of twelve everybody hears everybody, and nobody says its report again for who comes', async () => {
  const all = await Promise.all(Array.from({ length: 11 }, (_, i) => party(`m${i}`)));
  const meet = async (members: Party[]): Promise<void> => {
    for (const one of members) one.network.setLedger(ledgerOf(members));
    await until(
      () => members.every(({ network }) => network.diagnosis.listeners().length === members.length - 1),
      'all listen',
      120_000,
    );
  };
  await meet(all);
  for (const one of all) one.network.publish(reportOf(one, 1));
  await until(() => all.every((one) => heard(one, 1).size === 10), 'all have heard all', 30_000);

  const old = (): number => all.reduce((sum, { network }) => sum + (network.diagnosis.counters().reportsOld ?? 0), 0);
  // Streams that have only just been opened are seen to be within a quarter of a second; then all may say theirs again.
  await pause(1000);
  const before = old();
  const newcomer = await party('newcomer');
  await meet([...all, newcomer]);
  newcomer.network.publish(reportOf(newcomer, 1));
  await until(() => all.every((one) => heard(one, 1).has(newcomer.id)), 'the newcomer is heard', 30_000);
  await pause(500);
  // Said again, a report comes to all as an old one: that of the newcomer may be, those of the eleven would be 110.
  expect(old() - before).toBeLessThan(60);
  for (const one of all) one.network.publish(reportOf(one, 2));
  await until(() => heard(newcomer, 2).size === 11, 'it hears the next report of each', 30_000);
}, 240_000);
