import { describe, expect, it } from 'vitest';
import { diskUse, machineUse } from '../../node/faces/mesh-words.ts';
import { summaryOf } from '../../node/page/page-summary.ts';
import { machineCards } from '../../node/page/view/machine-cards.ts';
import { house, now } from '../browser/sample-house.ts';

const gib = 2 ** 30;
const capacity = { cpuMillis: 2_000, memoryBytes: 24 * gib, diskBytes: 0, gpus: [] };
/** No job is there, and others compute: jobs may have all of it, and it is busy all the same. */
const busy = {
  capacity,
  room: { cpuMillis: 2_000, memoryBytes: 20 * gib, gpus: [] },
  used: { cpuMillis: 1_990, memoryBytes: 6 * gib },
};

describe('what a machine uses', () => {
  it('is what was measured there, not what jobs may not have', () => {
    expect(machineUse(busy)).toEqual({ cpuPercent: 100, memoryBytes: 6 * gib, ofBytes: 24 * gib });
  });

  it('of an agent that does not tell is what jobs cannot have; of one that says nothing nothing', () => {
    expect(machineUse({ capacity, room: { ...busy.room, cpuMillis: 500 } })).toMatchObject({ cpuPercent: 75 });
    expect(machineUse({ capacity, room: null })).toBeNull();
    expect(machineUse({ capacity: null, room: null, used: busy.used })).toBeNull();
  });

  it('of its disk too, where its agent tells', () => {
    const disk = { ...capacity, diskBytes: 4_000 * gib };
    const used = { ...busy.used, diskBytes: 2_150 * gib };
    expect(diskUse({ capacity: disk, used })).toEqual({ diskBytes: 2_150 * gib, ofBytes: 4_000 * gib });
    for (const row of [{ capacity: disk, used: busy.used }, { capacity, used }, { capacity: null, used }, { capacity }])
      expect(diskUse(row)).toBeNull();
    const status = house();
    const cardOf = (over: object) =>
      machineCards({ ...status, nodes: [{ ...status.nodes[0]!, capacity: disk, used, ...over }] }, [])[0];
    expect(cardOf({})).toMatchObject({ disk: { percent: 54, words: '2.1/3.9 TiB' } });
    expect(cardOf({})?.facts).not.toContain('disk');
    expect(cardOf({ used: busy.used })).toMatchObject({ disk: null, facts: expect.stringContaining('3.9 TiB disk') });
    expect(cardOf({ state: 'gone' })?.disk).toBeNull();
  });

  it('is the same on its card and in the summary', () => {
    const status = house();
    const nodes = [
      { ...status.nodes[0]!, ...busy },
      { ...status.nodes[2]!, capacity: null, room: null, used: undefined },
    ];
    expect(machineCards({ ...status, nodes }, [])[0]?.cpu).toEqual({ percent: 100, words: '100 %' });
    expect(summaryOf({ ...status, nodes }, now)).toMatchObject({ cpuPercent: 100 });
  });
});
