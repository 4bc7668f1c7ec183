import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

const random = (length: number): string =>
  randomBytes(length * 2)
    .toString('base64')
    .replace(/[^A-Za-z0-9]/g, '')
    .slice(0, length)
    .padEnd(length, '0');

/** Tokens in GitLab's forms; the prefixes are what maskers look for. */
export const newPersonalToken = (): string => `glpat-${random(20)}`;
export const newJobToken = (): string => `glcbt-1_${random(20)}`;
export const newRunnerToken = (type: 'instance_type' | 'group_type' | 'project_type', created: boolean): string => {
  const number = { instance_type: 1, group_type: 2, project_type: 3 }[type];
  return created ? `glrt-t${number}_${random(20)}` : `glrtr-${random(20)}`;
};
export const newRegistrationToken = (): string => `GR1348941${random(20)}`;
export const newQueueValue = (): string => randomBytes(16).toString('hex');

/** Equal without telling by time how much was right. */
export const sameSecret = (a: string, b: string): boolean =>
  timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());
