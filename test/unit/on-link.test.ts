import { expect, it } from 'vitest';
import { isOnLink, Sparing } from '../../node/hosting/address/on-link.ts';

it('an address is on the link only where its network is ours, of the same family', () => {
  const own = { address: '10.0.0.7', netmask: '255.255.255.0' };
  expect(['10.0.0.1', '10.0.0.254'].map((one) => isOnLink(own, one))).toEqual([true, true]);
  for (const other of ['10.0.1.1', '8.8.8.8', 'fd00::1', '::ffff:10.0.0.1', '', '10.0.0'])
    expect(isOnLink(own, other), other).toBe(false);
});

it('answers go out no faster than they may, and again once a second is over', () => {
  const sparing = new Sparing(3);
  expect([0, 1, 2, 3, 999].map((at) => sparing.may(at))).toEqual([true, true, true, false, false]);
  expect(sparing.may(1000)).toBe(true);
});
