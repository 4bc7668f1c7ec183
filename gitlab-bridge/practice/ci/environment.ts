import { createHash } from 'node:crypto';
import { z } from 'zod';
import { durationSeconds } from './duration.ts';

/** `environment`, as far as a job sees it, and the environment that it makes. */
const tiers = ['production', 'staging', 'testing', 'development', 'other'] as const;
const name = z
  .string()
  .min(1)
  .max(255)
  // Variables are put in before GitLab looks at the rest.
  .regex(/^[\w/${} .:-]+$/, 'name can contain only letters, digits, spaces, and - _ / $ { } . :');
const whole = z
  .strictObject({
    name,
    url: z.string().max(255).optional(),
    action: z.enum(['start', 'stop', 'prepare', 'verify', 'access']).optional(),
    on_stop: z.string().optional(),
    auto_stop_in: z
      .string()
      .refine(
        (text) => text.includes('$') || text === 'never' || durationSeconds(text) !== null,
        'should be a duration',
      )
      .optional(),
    deployment_tier: z.enum(tiers).optional(),
  })
  .transform((one) => ({
    name: one.name,
    url: one.url ?? null,
    action: one.action ?? ('start' as const),
    onStop: one.on_stop ?? null,
    autoStopIn: one.auto_stop_in ?? null,
    tier: one.deployment_tier ?? null,
  }));
export const environment = z.union([
  name.transform((text) => ({ name: text, url: null, action: 'start', onStop: null, autoStopIn: null, tier: null })),
  whole,
]);

/** A tier that nobody named is guessed from the environment's name. */
export const tierOf = (named: string): (typeof tiers)[number] => {
  if (/dev|review|trunk/i.test(named)) return 'development';
  if (/tst|int|ac(?:ce|)pt|qa|qc|control|quality|test/i.test(named)) return 'testing';
  if (/st(?:a|)g|mod(?:e|)l|pre|demo|non/i.test(named)) return 'staging';
  return /pr(?:o|)d|live/i.test(named) ? 'production' : 'other';
};

/** CI_ENVIRONMENT_SLUG: 24 characters at most, a letter first; a name that it could not keep as it is gets six of its checksum. */
export const environmentSlug = (named: string): string => {
  let slug = named.toLowerCase().replace(/[^a-z0-9]/g, '-');
  if (!/^[a-z]/.test(slug)) slug = `env-${slug}`;
  slug = slug.replace(/-+/g, '-');
  if (slug.length <= 24 && slug === named) return slug.replace(/-$/, '');
  const sum = BigInt(`0x${createHash('sha256').update(named).digest('hex')}`)
    .toString(36)
    .slice(-6);
  return `${slug.slice(0, 17).replace(/-$/, '')}-${sum}`;
};
