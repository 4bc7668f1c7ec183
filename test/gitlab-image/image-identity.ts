import { readFileSync } from 'node:fs';

/** In the place of the practice GitLab's own: it says the version of the image. */
export const practiceVersion = `${readFileSync('/opt/gitlab/VERSION', 'utf8').trim()}-practice`;
export const practiceRevision = 'practice';
export const standInSentence = 'practice GitLab, not GitLab';
