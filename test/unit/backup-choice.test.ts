import { describe, expect, it } from 'vitest';
import { readTime, rowAt, rowNamed } from '../../node/cli/backup-choice.ts';
import { fewer } from '../../node/faces/backup-words.ts';
import { bulkBeside } from '../../node/hosting/replica/bulk-beside.ts';
import { fitting } from '../../node/hosting/vault/backup-rows.ts';
import { roundOf } from '../../node/hosting/vault/kept-rounds.ts';
import type { BackupRow } from '../../protocol/asks.ts';

const row = (id: string, at: number, more: Partial<BackupRow> = {}): BackupRow => ({
  ...{ id, at, version: '19.4.1', epoch: 1, isOwn: true, because: 'a backup' },
  ...more,
});
const round = (number: number, at: number): BackupRow => row(`round-0-1-${number}`, at, { on: ['kang'] });
const now = Date.parse('2026-11-29T14:05:00Z');

describe('a time that a person names', () => {
  it('is UTC as history shows it, another zone where it says so, the end of a day, or so long ago', () => {
    const iso = (text: string): string => new Date(readTime(text, now)).toISOString();
    expect(iso('2026-11-29 13:02')).toBe('2026-11-29T13:02:59.999Z');
    expect(iso('2026-11-29T13:02:05Z')).toBe('2026-11-29T13:02:05.999Z');
    expect(iso('2026-11-29 13:02+01:00')).toBe('2026-11-29T12:02:59.999Z');
    expect(iso('2026-11-28')).toBe('2026-11-28T23:59:59.999Z');
    // As it prints it in a pipe.
    expect(iso('2026-11-29T13:02:05.250Z')).toBe('2026-11-29T13:02:05.250Z');
    expect(iso('2h')).toBe('2026-11-29T12:05:00.000Z');
  });

  it.each([
    '',
    'yesterday',
    '2026-02-31',
    '2026-13-01 10:00',
    '25:00',
    '2026-11-29 25:00',
    '1500',
    '-2h',
    '1969-01-01',
  ])('%j is refused with the form', (text) => {
    expect(() => readTime(text, now)).toThrow(
      expect.objectContaining({ code: 'bad-flag', hint: expect.stringContaining('--at 2h') }),
    );
  });
});

describe('which round or backup is meant', () => {
  const rows = [
    round(9, 900),
    row('abcdef01', 500),
    round(3, 300),
    round(8, 0),
    row('beef0001', 800, { isOwn: false }),
  ];

  it('by a time the newest at or before it that can be put back here', () => {
    expect([900, 899, 500, 300].map((at) => rowAt(rows, at).id)).toEqual([
      ...['round-0-1-9', 'abcdef01', 'abcdef01', 'round-0-1-3'],
    ]);
    expect(() => rowAt(rows, 299)).toThrow(/the oldest that there is is of 1970-01-01 00:00:00 UTC \(round-0-1-3\)/);
    expect(() => rowAt([], 299)).toThrow('there is no backup and no round yet');
  });

  it('by its name, also the whole one of restic', () => {
    expect(rowNamed(rows, 'round-0-1-3').at).toBe(300);
    expect(rowNamed(rows, `abcdef01${'0'.repeat(56)}`).at).toBe(500);
    for (const wrong of ['round-0-1', 'abcdef', 'replaced-1', ''])
      expect(() => rowNamed(rows, wrong)).toThrow('there is no backup or round');
  });

  it('to a person the last hour is told by ten minutes, to a machine as much as there is room for', () => {
    const many = Array.from({ length: 720 }, (_, index) => round(720 - index, now - index * 5000));
    const all = [...many, round(0, now - 7_200_000), row('abcdef01', now - 90_000_000)];
    const told = fewer(all, now);
    expect(told[0]?.id).toBe('round-0-1-720');
    expect(told.length).toBeLessThanOrEqual(9);
    expect(told.slice(-2).map(({ id }) => id)).toEqual(['round-0-1-0', 'abcdef01']);
    // Of what lies on a machine that does not answer nobody knows when it was, and it is put back by nobody.
    expect(fewer([...all, { ...round(3, 0) }], now)).toEqual(told);
    const sent = fitting(all);
    expect(JSON.stringify(sent).length).toBeLessThanOrEqual(48_100);
    expect([sent[0]?.id, sent.at(-1)?.id]).toEqual(['round-0-1-720', 'abcdef01']);
    expect(fitting(many.slice(0, 50))).toHaveLength(50);
    // Of more than fit all the same the newest.
    const long = Array.from({ length: 400 }, (_, at) =>
      row('abcdef01', at, { because: `a backup in ${'x'.repeat(400)}` }),
    );
    expect(JSON.stringify(fitting(long)).length).toBeLessThanOrEqual(48_100);
    expect(fitting(long)[0]?.at).toBe(399);
  });

  it('a name of a round is read as a whole or not at all', () => {
    expect(roundOf('round-0-1-12')).toEqual({ era: 0, epoch: 1, number: 12 });
    for (const wrong of ['round-0-1', 'round-0-1-2-3', 'round-00-1-2', '0-1-2', 'round-../1-2'])
      expect(roundOf(wrong)).toBeNull();
  });
});

describe('the bulk part that goes with a hot one', () => {
  const at = (number: number, wallMs: number) => ({ name: { era: 0, epoch: 1, number }, wallMs });
  const bulk = [at(10, 10_000), at(30, 30_000), at(90, 90_000)];

  it.each([
    ['of the same name', at(30, 10_000), 30],
    ['the next one where that was taken soon after it', at(28, 28_000), 30],
    ['the one before where nothing was taken soon after it', at(40, 40_000), 30],
    ['the newest where nothing came later', at(95, 200_000), 90],
    ['the first where there is none before', at(2, 0), 10],
  ])('is %s', (_, hot, number) => {
    expect(bulkBeside(hot, bulk)?.name.number).toBe(number);
  });

  it('is none where there is none', () => {
    expect(bulkBeside(at(1, 0), [])).toBeNull();
  });
});
