import { expect, it } from 'vitest';
import { shortTime } from '../../node/cli/local-time.ts';

it('day and hour are of one clock, also where it is another day than in Greenwich', () => {
  const zone = process.env.TZ;
  process.env.TZ = 'Pacific/Kiritimati';
  try {
    const at = new Date('2026-11-29T12:00:00Z');
    expect(shortTime(at, new Date('2026-11-30T12:00:00Z'))).toBe('2026-11-30 02:00:00');
    expect(shortTime(at, new Date('2026-11-30T09:00:00Z'))).toBe('02:00:00');
  } finally {
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
  }
});
