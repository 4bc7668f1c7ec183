import { expect, it } from 'vitest';
import { ClientShare, clientOf } from '../../node/hosting/gate/client-share.ts';

it.each([
  ['192.168.1.7', '192.168.1.7'],
  ['::ffff:192.168.1.7', '192.168.1.7'],
  ['fd00:1:2:3:4:5:6:7', 'fd00:1:2:3'],
  ['fd00:1:2:3::9', 'fd00:1:2:3'],
  ['fd00::9', 'fd00:0:0:0'],
  ['::1', '0:0:0:0'],
  ['FE80::1%eth0', 'fe80:0:0:0'],
])('%s counts as %s', (address, client) => {
  expect(clientOf(address)).toBe(client);
});

it('one client alone has half of a door; another always finds room', () => {
  const share = new ClientShare(100);
  let one = 0;
  while (share.enter('a')) one += 1;
  expect(one).toBe(50);
  let other = 0;
  while (share.enter('b')) other += 1;
  expect(other).toBe(25);
  expect(share.enter('c')).toBe(true);
  share.leave('a');
  expect([share.enter('a'), share.enter('c')]).toEqual([false, true]);
});

it('what was given back is free again', () => {
  const share = new ClientShare(4);
  for (let time = 0; time < 10; time++) {
    expect([share.enter('a'), share.enter('a'), share.enter('a')]).toEqual([true, true, false]);
    for (let held = 0; held < 2; held++) share.leave('a');
  }
});
