import { AutogitError } from '../../protocol/errors.ts';

/** What is wrong with the folder or disk of a GitLab's data, and what a person does about it. */
export const placeProblem = (message: string, hint: string, cause?: unknown): AutogitError =>
  new AutogitError('data-place', message, { hint, cause });
