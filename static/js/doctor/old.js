/* Shows a notice in browsers without modules. ES5. */
document.getElementById('old').hidden = false;
document.getElementById('old').removeAttribute('hidden');
