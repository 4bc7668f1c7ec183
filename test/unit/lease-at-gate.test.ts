import { expect, it } from 'vitest';
import { LeaseAtGate } from '../../node/hosting/lease-at-gate.ts';

it('a lease counts only once the gate goes by it, and one that was passed over does not', async () => {
  const renewed: { until: number; done: () => void }[] = [];
  let begun = 0;
  const gate = {
    renew: ({ until }: { until: number }) => new Promise<void>((done) => void renewed.push({ until, done })),
    close: async () => undefined,
    end: async () => undefined,
    problems: () => [],
  };
  const lease = new LeaseAtGate(3, gate, () => (begun += 1));
  lease.hold(3, 1000);
  expect(renewed).toEqual([]);
  // The core's next word is half a second away.
  lease.tell({ upstream: null, isServing: false, because: '', cgroup: null, tellsClient: false });
  expect(renewed.map(({ until }) => until)).toEqual([1000]);
  for (const until of [1500, 2000]) lease.hold(3, until);
  lease.hold(2, 9000);
  expect([renewed.length, lease.until, begun]).toEqual([1, 0, 0]);
  renewed[0]?.done();
  await expect.poll(() => [renewed.length, lease.until]).toEqual([2, 1000]);
  renewed[1]?.done();
  await expect.poll(() => lease.until).toBe(2000);
  expect(begun).toBe(1);
  await lease.close('over');
  lease.hold(3, 5000);
  expect([renewed.length, lease.until]).toEqual([2, 0]);
});
