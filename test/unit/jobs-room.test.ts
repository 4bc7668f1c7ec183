import { describe, expect, it } from 'vitest';
import { type Claim, claimOf, lessClaims, roomOf } from '../../scheduler/jobs/room.ts';
import { GiB, gpu3090, measured } from './jobs-lab-machines.ts';

const claim = (id: string, tags: string[], gpus: string[] = []): Claim => claimOf({ by: id, id, tags, gpus }, 'amd64');

describe('room is derived', () => {
  it('CPU counts own runs, not the load: three agents on a busy box still run jobs', () => {
    const busy = measured({ cores: 2, memoryGiB: 8, usedCpuMillis: 2000 });
    expect(roomOf(busy, [], null).cpuMillis).toBe(2000);
    expect(roomOf(busy, [claim('a', []), claim('b', [])], null).cpuMillis).toBe(0);
    expect(roomOf(busy, [claim('a', ['cpu-64'])], null).cpuMillis).toBe(0);
  });

  const rows: [string, number, number | null, Claim[], number][] = [
    ['idle: what others use', 10, null, [], 64 - 2 - 10],
    ['a run that has not yet touched its memory', 10, 10, [claim('a', ['mem-16g'])], 64 - 2 - 10 - 16],
    ['a run that uses all of its memory', 26, 10, [claim('a', ['mem-16g'])], 64 - 2 - 10 - 16],
    ['others grew meanwhile', 40, 10, [claim('a', ['mem-16g'])], 64 - 2 - 24 - 16],
    ['others shrank below what was', 4, 10, [claim('a', ['mem-16g'])], 64 - 2 - 4 - 16],
    ['never below zero', 64, 60, [claim('a', ['mem-16g'])], 0],
  ];
  it.each(rows)('memory: %s', (_name, used, idle, claims, free) => {
    const room = roomOf(measured({ usedMemoryBytes: used * GiB }), claims, idle === null ? null : idle * GiB);
    expect(room.memoryBytes / GiB).toBe(free);
  });

  it('a GPU has one holder, by uuid', () => {
    const desktop = measured({ gpus_: [gpu3090] });
    const room = roomOf(desktop, [claim('run-1', ['gpu'], [gpu3090.uuid])], null);
    expect(room.gpus).toEqual([
      { uuid: gpu3090.uuid, memoryBytes: gpu3090.memoryBytes, busyPercent: 0, foreign: false, held: 'run-1' },
    ]);
    expect(lessClaims(room, [claim('grant-2', ['gpu'], [gpu3090.uuid])]).gpus[0]?.held).toBe('run-1');
    expect(lessClaims(roomOf(desktop, [], null), [claim('g', ['cpu-4', 'gpu'], [gpu3090.uuid])])).toMatchObject({
      cpuMillis: 12_000,
      gpus: [{ held: 'g' }],
    });
  });
});
