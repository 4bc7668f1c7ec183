import { afterEach, expect, it } from 'vitest';
import { orderPlainly } from '../../node/network/plain-order.ts';

const before = Object.getOwnPropertyDescriptor(String.prototype, 'localeCompare') as PropertyDescriptor;
afterEach(() => Object.defineProperty(String.prototype, 'localeCompare', before));

it('orders by code units, the same in every language and at every time', () => {
  const words = ['/yamux/1.0.0', 'b', 'B', '/ipfs/id/1.0.0', 'ä', 'a', '', 'a'];
  orderPlainly();
  const sorted = [...words].sort((a, b) => a.localeCompare(b));
  expect(sorted).toEqual([...words].sort());
  expect(sorted).toEqual([...words].reverse().sort((a, b) => a.localeCompare(b)));
  expect(['a'.localeCompare('a'), 'a'.localeCompare('b'), 'b'.localeCompare('a')]).toEqual([0, -1, 1]);
  expect(Object.keys(String.prototype)).toEqual([]);
});
