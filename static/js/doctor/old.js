/* For browsers that know no modules: one sentence. Written as they understand it. */
document.getElementById('old').hidden = false;
document.getElementById('old').removeAttribute('hidden');
