import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { DoorConnections } from '../../node/page/door-connections.ts';

/** As much of a socket as is looked at: it ends, and says so. */
class Line extends EventEmitter {
  isOpen = true;
  destroy(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.emit('close');
  }
}
const lineIn = (door: DoorConnections): Line => {
  const line = new Line();
  door.entered(line as unknown as Socket);
  return line;
};

it('the oldest stranger gives way to the newest, and whoever has shown that he may be here to none', () => {
  const door = new DoorConnections({ strangers: 3, ofOne: 2 });
  const owner = lineIn(door);
  door.known(owner as unknown as Socket, 'page-1');
  const strangers = Array.from({ length: 10 }, () => lineIn(door));
  expect(strangers.map(({ isOpen }) => isOpen)).toEqual([...Array(7).fill(false), true, true, true]);
  expect([owner.isOpen, door.strangers]).toEqual([true, 3]);
});

it('of one session there are few: its own oldest gives way', () => {
  const door = new DoorConnections({ strangers: 3, ofOne: 2 });
  const lines = Array.from({ length: 4 }, () => {
    const line = lineIn(door);
    door.known(line as unknown as Socket, 'page-1');
    // Each answer says it anew.
    door.known(line as unknown as Socket, 'page-1');
    return line;
  });
  const other = lineIn(door);
  door.known(other as unknown as Socket, 'key-1');
  expect([...lines, other].map(({ isOpen }) => isOpen)).toEqual([false, false, true, true, true]);
  // One that ended meanwhile is nobody's any more.
  lines[3]?.destroy();
  door.known(lines[3] as unknown as Socket, 'key-1');
  const more = lineIn(door);
  door.known(more as unknown as Socket, 'key-1');
  expect([other.isOpen, more.isOpen, door.strangers]).toEqual([true, true, 0]);
});
