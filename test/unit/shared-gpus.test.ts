import { describe, expect, it } from 'vitest';
import type { Measured } from '../../protocol/report.ts';
import { demandOf } from '../../scheduler/jobs/demand.ts';
import { fitOf, type MachineView } from '../../scheduler/jobs/machine-fit.ts';
import { booked } from '../../scheduler/jobs/machines.ts';
import { place } from '../../scheduler/jobs/placement.ts';
import { type Claim, claimOf, lessClaims, roomOf } from '../../scheduler/jobs/room.ts';
import { measured } from './jobs-lab-machines.ts';

const GiB = 2 ** 30;
const card = (uuid: string, gib: number) => ({
  uuid,
  vendor: 'nvidia' as const,
  model: 'RTX 3090 Ti',
  memoryBytes: gib * GiB,
});
const load = (uuid: string, usedBytes = 0) => ({ uuid, usedBytes, busyPercent: 0, foreign: false });
const claim = (id: string, tags: string[], gpus: string[]): Claim =>
  claimOf({ by: `run ${id}`, id, tags, gpus }, 'amd64');
function machine(more: Partial<Measured>, claims: Claim[], gpus = [card('GPU-1', 24)], used = 0): MachineView {
  const base = measured({});
  const seen: Measured = {
    ...base,
    owner: 'away',
    capacity: { ...base.capacity, gpus },
    gpus: gpus.map(({ uuid }) => load(uuid, used)),
    sharesGpus: true,
    ...more,
  };
  const rest = { holders: {}, runs: claims.length, witness: false, drained: false, away: null, isHost: false };
  return { node: 'n', name: 'kang', measured: seen, room: roomOf(seen, claims, 0), ...rest };
}
const fits = (tags: string[], view: MachineView): boolean => fitOf(demandOf(tags, 'amd64'), view).fits;
const half = claim('1', ['vram-12g'], ['GPU-1']);

describe('one GPU for two jobs', () => {
  it('where the owner shares his, and both say how much of its memory they need', () => {
    expect(fits(['vram-12g'], machine({}, [half]))).toBe(true);
    expect(fits(['gpu', 'vram-8g'], machine({}, [half]))).toBe(true);
    expect(fits(['vram-13g'], machine({}, [half]))).toBe(false);
    expect(fits(['gpu'], machine({}, [half]))).toBe(false);
    expect(fits(['vram-4g'], machine({}, [claim('1', ['gpu'], ['GPU-1'])]))).toBe(false);
    const { sharesGpus: _, ...alone } = machine({}, [half]).measured as Measured;
    expect(fits(['vram-12g'], { ...machine({}, [half]), measured: alone })).toBe(false);
  });

  it('and no third, nor where the first has more than it said', () => {
    const two = [claim('1', ['vram-4g'], ['GPU-1']), claim('2', ['vram-4g'], ['GPU-1'])];
    expect(fits(['vram-4g'], machine({}, two))).toBe(false);
    expect(fits(['vram-12g'], machine({}, [half], [card('GPU-1', 24)], 20 * GiB))).toBe(false);
  });

  it('counts a grant that the machine has not told of yet', () => {
    const one = machine({}, [half]);
    const more = booked(one, claim('2', ['vram-8g'], ['GPU-1']));
    expect(more.room?.gpus[0]).toMatchObject({ held: '1', shared: { runs: 2, bytes: 20 * GiB } });
    expect(fits(['vram-4g'], more)).toBe(false);
    // A run that has said nothing has it alone, in whatever order they are told.
    const whole = lessClaims(one.room as never, [claim('3', ['gpu'], ['GPU-1'])]);
    expect(whole.gpus[0]).not.toHaveProperty('shared');
    const first = roomOf(one.measured as Measured, [claim('3', ['gpu'], ['GPU-1']), half], 0);
    expect(first.gpus[0]).not.toHaveProperty('shared');
    expect(lessClaims(first, [half]).gpus[0]).not.toHaveProperty('shared');
  });

  it('prefers a card of its own, here or on another machine, however large', () => {
    const both = machine({}, [half], [card('GPU-1', 24), card('GPU-2', 48)]);
    expect(fitOf(demandOf(['vram-8g'], 'amd64'), both).gpus).toEqual(['GPU-2']);
    const other = { ...machine({}, [], [card('GPU-9', 80)]), node: 'm', name: 'other' };
    expect(place(demandOf(['vram-8g'], 'amd64'), [machine({}, [half]), other]).placed?.gpus).toEqual(['GPU-9']);
    expect(place(demandOf(['vram-8g'], 'amd64'), [machine({}, [half])]).placed?.gpus).toEqual(['GPU-1']);
  });
});
