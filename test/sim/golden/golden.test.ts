import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fileOf, pageOf } from './page.ts';
import { stories } from './stories.ts';

/** What differs may be better: read it, then `npm run sim -- golden --update`. */
describe('what the mesh tells its users', () => {
  for (const story of stories)
    it(story.name, { timeout: 120_000 }, () => {
      expect(pageOf(story)).toBe(readFileSync(fileOf(story), 'utf8'));
    });

  it('has no page without a story', () => {
    const kept = readdirSync(dirname(fileOf(stories[0]!))).filter((name) => name.endsWith('.md'));
    expect(kept.sort()).toEqual(stories.map((story) => basename(fileOf(story))).sort());
  });
});
