import { expect, it } from 'vitest';
import { failover } from '../../node/agent/jit-warm-up.ts';

it('the warm-up elects a leader, kills it and elects another, every time', () => {
  for (let time = 0; time < 3; time++) {
    const play = failover();
    let steps = 0;
    let last = play.next();
    while (!last.done) {
      steps += 1;
      last = play.next();
    }
    const { leader, first } = last.value;
    expect(first).not.toBeNull();
    expect(leader).not.toBeNull();
    expect(leader).not.toBe(first);
    expect(steps).toBeLessThan(1000);
  }
});
