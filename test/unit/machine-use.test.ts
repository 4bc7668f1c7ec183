import { describe, expect, it } from 'vitest';
import { machineUse } from '../../node/mesh-words.ts';
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
