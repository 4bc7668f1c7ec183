import { Chance } from '../chance.ts';

/**
 * Always the middle: every delay is the usual one, and what is rare does not happen. A story told with it changes when
 * the mesh behaves differently, not when somebody draws once more.
 */
export class EvenChance extends Chance {
  constructor() {
    super(0);
  }

  override next(): number {
    return 0.5;
  }

  override fork(): Chance {
    return this;
  }
}
